"""USD-M futures, as the exchange's public documentation states them."""
