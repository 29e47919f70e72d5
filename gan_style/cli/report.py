"""The command report: the page of a comparison, anew."""

from pathlib import Path

from gan_style.config import at_least


def write_report(report: str, rows: int | None = None) -> None:
    """Write a comparison's report again, with the votes that came in meanwhile.

    Reads metrics.json, the images it names, and votes/*.csv.
    Example: python -m gan_style report --report results/monet2photo/report

    Args:
        report: its folder.
        rows: contents in its pictures; as before when not given.
    """
    at_least(1, rows=rows)
    from gan_style.report import page as reports

    print(f"report: {reports.write(Path(report), rows)}")
