//! Wire formats: HTTP types, problem details, JSON bounds, the client.
