"""Numerai's classic data: read era by era, trained on era by era, scored as Numerai scores."""
