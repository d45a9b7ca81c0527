//! Every durable state machine, pure.
