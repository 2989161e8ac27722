//! chitin-vmm
