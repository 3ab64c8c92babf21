"""The federation's decisions as one pure state machine: `FederationCore.handle(now_s, input) -> effects`."""
