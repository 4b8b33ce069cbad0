"""The exchange: one recorded or live book, and own orders of K accounts resting among it. Kernels only; no frames.

What to call, in the order in which a driver needs it (all kernels are jitted and can be called one order at a time):

- ``venue.new_accounts(K, ...)``: queue model, latency and partial fills of each account;
  ``venue.new_venue(capacity_ticks, slots, accounts, tables, lot_size=...)``: an empty exchange of them. An own order
  lives in a slot of ``venue.own``: the driver fills in ``account``, ``side``, ``price_ticks``, ``qty``, ``leaves``,
  ``tif`` and ``kind``, and keeps whatever else it wants to know about it beside them, by slot. A slot is free again
  once the order is done and no request about it is under way.
- ``marketpass.exchange_until(venue, rows, start, limit_ns)``: market rows (``dtypes.EVENT``) up to an exchange time,
  fills included; ``matching.on_row`` is one row of it.
- ``matching.on_new``, ``on_cancel`` ``(venue, slot, ts_ns)``, ``on_replace(venue, slot, price_ticks, qty, ts_ns)``: one
  request at its time of arrival. ``own.sent_ns`` is the time of the request that reports answer. Check first that
  ``venue.reports`` has room: ``matching.room_for_new`` rows for what may trade, one for a cancel.
- ``venue.reports[: venue.control[0]["n_reports"]]``: what happened (``ACCEPTED`` .. ``FILLED``), to which account and
  slot, and when the owner learns of it; the driver takes them out and sets ``n_reports`` to 0.
- ``latency.entry_latency_ns(account, tables, ts_ns)``: how long a request takes; ``requests.serve_requests``: requests
  that are known beforehand.
- ``venue.grow_venue``, ``grow_slots``, ``grow_reports``: after ``NEED_TICKS``, for more orders, after ``REPORTS_FULL``.

All state is in arrays: a venue that is pickled between two calls goes on from there. Own orders never change the book
and accounts do not meet: each fares as if it were alone. Rules: hftbacktest 2.4's ``NoPartialFillExchange`` for L2
data; partial fills are an option of our own (see ``matching``). Queue position: ``core.queue``. Oracle:
tests/naive_venue.py.
"""
