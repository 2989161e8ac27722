//! The table of system calls: one [`Row`] per x86-64 number.
//!
//! Families list their rows in a `ROWS` constant beside their handlers and are joined here while compiling: a number
//! given twice, or with a name other than Linux's, does not compile. Numbers that no family has answer `ENOSYS`.

use super::names::{COUNT, NAMES};
use super::row::{Restart, Row, Support};

/// The families. Add yours.
const FAMILIES: &[&[Row]] = &[
    super::creds::ROWS,
    super::ids::ROWS,
    super::memory::ROWS,
    super::numa::ROWS,
    super::namespaces::ROWS,
    super::remote::ROWS,
    super::limits::ROWS,
    super::pidfd::ROWS,
    super::process::ROWS,
    super::sched::ROWS,
    super::priority::ROWS,
    super::affinity::ROWS,
    super::prctl::ROWS,
    super::ptrace::ROWS,
    super::barrier::ROWS,
    super::seccomp::ROWS,
    super::signals::ROWS,
    super::files::ROWS,
    super::exec::ROWS,
    super::fds::ROWS,
    super::opens::ROWS,
    super::ioctls::ROWS,
    super::mounts::ROWS,
    super::mount_api::ROWS,
    super::handles::ROWS,
    super::transfer::ROWS,
    super::xattrs::ROWS,
    super::stats::ROWS,
    super::dirs::ROWS,
    super::attrs::ROWS,
    super::system::ROWS,
    super::thread::ROWS,
    super::pipes::ROWS,
    super::poll::ROWS,
    super::epoll::ROWS,
    super::eventfd::ROWS,
    super::futex::ROWS,
    super::futex2::ROWS,
    super::cachestat::ROWS,
    super::quota::ROWS,
    super::lsm::ROWS,
    super::keys::ROWS,
    super::keyctl::ROWS,
    super::mount_query::ROWS,
    super::time::ROWS,
    super::timers::ROWS,
    super::sockets::ROWS,
    super::messages::ROWS,
    super::shm::ROWS,
    super::sem::ROWS,
    super::msg::ROWS,
    super::mqueue::ROWS,
    super::inotify::ROWS,
    super::machine::ROWS,
    super::aio::ROWS,
];

/// The table, indexed by number.
pub static TABLE: [Row; COUNT] = join();

const fn join() -> [Row; COUNT] {
    let mut table = [absent(0); COUNT];
    let mut number = 0;
    while number < COUNT {
        table[number] = absent(number);
        number += 1;
    }
    let mut family = 0;
    while family < FAMILIES.len() {
        let rows = FAMILIES[family];
        let mut at = 0;
        while at < rows.len() {
            let row = rows[at];
            let number = row.number as usize;
            assert!(table[number].handler.is_none(), "two rows with one number");
            assert!(same(NAMES[number], row.name), "the name is not that of the number");
            table[number] = row;
            at += 1;
        }
        family += 1;
    }
    table
}

#[expect(clippy::cast_possible_truncation, reason = "numbers are below COUNT")]
const fn absent(number: usize) -> Row {
    Row {
        number: number as u16,
        name: NAMES[number],
        arity: 6,
        handler: None,
        restart: Restart::Never,
        support: Support::None,
    }
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write;
    use std::path::Path;
    use std::string::String;

    fn page() -> String {
        let named = TABLE.iter().filter(|row| !row.name.is_empty());
        let count = |wanted: fn(&Support) -> bool| named.clone().filter(|row| wanted(&row.support)).count();
        let mut page = String::from(
            "# System calls\n\nMade from the table in `sentry/src/syscall`; a test keeps it so. \"Full\" is what the manual \
             page describes; a call that is not there answers `ENOSYS` and is counted by name in the container's statistics.\n\n",
        );
        let full = count(|support| *support == Support::Full);
        let none = count(|support| *support == Support::None);
        let partial = named.clone().count() - full - none;
        let _ = writeln!(page, "{full} full, {partial} partial, {none} absent.\n");
        page.push_str("| number | call | support | remark |\n|---|---|---|---|\n");
        for row in named {
            let (support, remark) = match row.support {
                Support::Full => ("full", ""),
                Support::Partial(remark) => ("partial", remark),
                Support::None => ("absent", ""),
            };
            let _ = writeln!(page, "| {} | `{}` | {support} | {remark} |", row.number, row.name);
        }
        page
    }

    /// With `CHITIN_WRITE_DOCS=1` in the environment, writes the page instead.
    #[test]
    fn the_page_says_what_the_table_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compatibility.md");
        if std::env::var_os("CHITIN_WRITE_DOCS").is_some() {
            std::fs::write(&path, page()).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == page(),
            "docs/compatibility.md is out of date: run this test with CHITIN_WRITE_DOCS=1"
        );
    }
}
