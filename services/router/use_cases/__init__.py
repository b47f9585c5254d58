"""The steps of a request and of an admin's change: order, ids and times, which error; no wires, no stores."""
