//! The Chitin guest kernel.
fn main() {}
