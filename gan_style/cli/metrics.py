"""The command metrics: what there is to measure."""


def list_metrics() -> None:
    """List the metrics: what each is compared with, which way is better, and its source.

    Example: python -m gan_style metrics
    """
    from gan_style.evaluation import metrics

    for key, column in metrics.columns().items():
        info = column.info
        print(f"{key:26}{info.better:7} against {column.against:15}{column.title}")
        print(f"{'':26}{info.source}")
