//! The API server double.
