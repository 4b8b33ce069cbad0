"""The spot market, as the exchange's public documentation states it."""
