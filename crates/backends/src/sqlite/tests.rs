//! What only a file can do: be reopened, be torn, fill up, be somebody else's.
