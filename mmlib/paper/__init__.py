"""The paper exchange: a server that speaks an exchange's own interface, on simulated, recorded or live market data."""
