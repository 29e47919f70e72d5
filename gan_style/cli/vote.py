"""The command vote: a page that asks people."""

from pathlib import Path


def vote(report: str, questions: int = 40, seed: int = 0, question: str = "") -> None:
    """Write a page that asks people which of two methods' pictures they prefer, blindly.

    Reads metrics.json of a comparison's report folder. Writes vote.html, one file to hand out, and
    vote_key.json, which tells whose the pictures are: keep it to yourself. Put the CSV files that
    raters send back into <report>/votes; the next report has the tally.
    Example: python -m gan_style vote --report results/monet2photo/report

    Args:
        report: folder with metrics.json.
        questions: for each rater, at most; pairs of methods and sides are balanced.
        seed: of the choice of questions and sides; every rater has an order of their own.
        question: what raters are to answer; a general one when not given.
    """
    from gan_style.report import vote as votes

    page = votes.write(Path(report), questions, seed, question or votes.QUESTION)
    print(f"page: {page}; its key, which raters must not see: {page.with_name(votes.KEY)}")
