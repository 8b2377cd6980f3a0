"""Remote mail and messages: the contract of a connector, and the providers that implement it."""
