"""The exchange: one recorded or live book, and own orders resting among it. Kernels only; no frames.

What to call, in the order in which a driver needs it (all kernels are jitted and can be called one order at a time):

- ``venue.new_venue(capacity_ticks, slots, latency.order_latency(...), ...)``: an empty exchange. An own order lives in a slot
  of ``venue.own``; the driver fills in its fields and keeps whatever else it wants to know about it beside them, by slot.
- ``marketpass.exchange_until(venue, rows, start, limit_ns)``: market rows (``dtypes.EVENT``) up to an exchange time, fills
  included; ``matching.on_row`` is one row of it.
- ``matching.on_new``, ``on_cancel`` ``(venue, slot, ts_ns)``: one request at its time of arrival. Check first that
  ``venue.reports`` has room (``matching.room_for_new``).
- ``venue.reports[: venue.control[0]["n_reports"]]``: what happened (``ACCEPTED`` .. ``FILLED``), with the time at which the
  owner learns of it; the driver takes them out and sets ``n_reports`` to 0.
- ``venue.grow_venue``: after ``NEED_TICKS``.
- ``requests.serve_requests``: requests known beforehand. ``latency``: of orders. ``ladder``: the book. ``core.queue``: queue
  position.

Rules: hftbacktest 2.4's ``NoPartialFillExchange`` for L2 data; partial fills are an option of our own (see ``matching``).
"""
