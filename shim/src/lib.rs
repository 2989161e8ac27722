//! containerd-shim-chitin
