"""The cuts that a model travels with, as `scores.calibrate` froze them, without what it takes to find them."""


def unsure_band(calibration: dict) -> tuple[float, float]:  # p_fake: real below the first, fake from the second on
    """The frozen band of "unsure"; where a model has none, its threshold twice."""
    threshold = calibration["threshold"]
    return calibration.get("unsure_low", threshold), calibration.get("unsure_high", threshold)


def never_said(calibration: dict) -> str:
    """Verdicts outside the band of "unsure" that no image can get; empty where both are possible.

    Fewer than 1 / unsure_error - 1 groups of real images (of fakes) in complete_calibrate cannot
    promise so few mistakes, and the band then reaches to the end of the scale.
    """
    beyond = {"fake": calibration.get("unsure_high", 1) > 1, "real": calibration.get("unsure_low", 1) <= 0}
    return ", ".join(verdict for verdict, never in beyond.items() if never)
