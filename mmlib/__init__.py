"""mm-finishline: a workbook that takes a market-making bot to production behind gates."""

__version__ = "0.1.0"
