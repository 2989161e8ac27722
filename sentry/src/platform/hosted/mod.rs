//! The hosted platform: std threads, a seed decides who runs. For tests.
