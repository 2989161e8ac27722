//! Chitin's host side: sandboxes as processes, OCI bundles as requests, containerd's shim protocol and the command
//! line.
//!
//! | module | contents |
//! |---|---|
//! | [`cli`] | the `chitin` command |
//! | [`config`] | `/etc/chitin/config.toml` |
//! | [`container`] | carrying a plan out in a sandbox |
//! | [`sandbox`] | one VMM process and the channels to it and to the sentry |
//! | [`block`] | block devices and images of the host |
//! | [`spec`] | OCI runtime specification to a plan of what the sentry is told |
//! | [`stdio`] | which descriptors the VMM gets for a process's streams |
//! | [`network`] | a pod's network, from its namespace into the sandbox |
//! | [`rootfs`] | the snapshotter's mounts |
//! | [`ledger`] | what was done to the host, to be undone by whoever comes later |
//! | [`cgroup`], [`host_process`] | control groups and processes of the host |
//! | [`ttrpc`] | containerd's RPC |
//! | [`log`] | log lines |

pub mod block;
pub mod cgroup;
pub mod cli;
pub mod config;
pub mod container;
pub mod daemon;
pub mod host_process;
pub mod ledger;
pub mod log;
pub mod network;
pub mod rootfs;
pub mod sandbox;
pub mod shim_main;
pub mod spec;
pub mod stdio;
pub mod task;
pub mod ttrpc;
