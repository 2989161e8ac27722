//! Chitin's host side: sandboxes as processes, OCI bundles as requests, containerd's shim protocol and the command
//! line.
//!
//! | module | contents |
//! |---|---|
//! | [`cli`] | the `chitin` command |
//! | [`config`] | `/etc/chitin/config.toml` |
//! | [`container`] | carrying a plan out in a sandbox |
//! | [`sandbox`] | one VMM process and the channels to it and to the sentry |
//! | [`spec`] | OCI runtime specification to a plan of what the sentry is told |
//! | [`stdio`] | which descriptors the VMM gets for a process's streams |

pub mod cli;
pub mod config;
pub mod container;
pub mod sandbox;
pub mod spec;
pub mod stdio;
