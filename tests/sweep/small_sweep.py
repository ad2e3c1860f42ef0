"""The sweep that most tests are about: two cost levels, two objectives, two seeds, two windows."""

DOCUMENT = {
    "run": {
        "dataset": "sp500-20",
        "frequency": "M",
        "objectives": ["squared", "aligned"],
        "seeds": 2,
        "max_windows": 2,
        "training": {"epochs": 1, "path_epochs": 1, "hidden": [], "holding_periods": [2.0], "shrinkage": [0.5, 1.0]},
    },
    "costs": {"low": {"half_spread": 2}, "high": {"half_spread": 20}},
}
