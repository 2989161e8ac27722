//! chitin-sentry
