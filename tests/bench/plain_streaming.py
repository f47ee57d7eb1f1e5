"""The yardstick: mitmdump with nothing but streaming switched on."""


def responseheaders(flow):  # type: ignore[no-untyped-def]
    flow.response.stream = True
