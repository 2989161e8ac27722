//! The OOM killer: which process ends when memory is short and no cache can be dropped.
//!
//! The one with the most memory among those whose containers the exhausted budget pays for, as `oom_score_adj` shifts it
//! (proc(5)); with it whoever shares its address space. Those who need memory wait for it to come free.

use super::{Container, ExitStatus, Process, Task, Work};
use crate::mm::pressure::{Killer, Relief};
use crate::mm::{Budget, Mm, Usage};
use crate::signal::Signal;
use alloc::format;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use chitin_core::frame;
use chitin_core::lock::{Level, SpinLock};
use chitin_core::sleep::Sleeper;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Level of the list of containers.
const LEVEL: Level = Level(57);
/// `oom_score_adj` of a process that is never chosen.
const NEVER: i32 = -1000;
/// How long who needs memory waits before it tries again.
const PAUSE_NS: u64 = 2_000_000;
/// How long a process may take to end before who waits for it gives up.
const PATIENCE_NS: u64 = 3_000_000_000;

static WATCHED: SpinLock<Vec<Weak<Container>>> = SpinLock::new(LEVEL, Vec::new());
/// Without a page coming free for this long after a process was chosen, the next one is.
const GRACE_NS: u64 = 50_000_000;

/// When a process was last chosen.
static LAST_NS: AtomicU64 = AtomicU64::new(0);
/// Fewest pages in use since then, and when that was seen.
static FEWEST: AtomicU64 = AtomicU64::new(0);
static FEWEST_NS: AtomicU64 = AtomicU64::new(0);

/// Whether the memory of the process that was chosen last is still coming free.
fn is_coming(short: &Budget, now: u64) -> bool {
    let used = short.used();
    if used < FEWEST.load(Ordering::Relaxed) {
        FEWEST.store(used, Ordering::Relaxed);
        FEWEST_NS.store(now, Ordering::Relaxed);
    }
    now.saturating_sub(FEWEST_NS.load(Ordering::Relaxed)) < GRACE_NS
}

struct OomKiller;

/// Lets the processes of a container be chosen.
pub(super) fn watch(container: &Arc<Container>) {
    crate::mm::pressure::set_killer(&OomKiller);
    let mut watched = WATCHED.lock();
    watched.retain(|container| container.strong_count() > 0);
    watched.push(Arc::downgrade(container));
}

/// A process that has memory.
struct Candidate {
    process: Arc<Process>,
    mm: Arc<Mm>,
    usage: Usage,
}

impl Candidate {
    fn of(process: Arc<Process>) -> Option<Self> {
        let mm = process.any_thread()?.mm()?;
        let usage = mm.usage();
        Some(Self { process, mm, usage })
    }

    fn is_ending(&self) -> bool {
        self.process.state().exiting.is_some()
    }

    fn adjustment(&self) -> i32 {
        self.process.oom_score_adj.load(Ordering::Relaxed)
    }

    /// Pages, those of its tasks too, shifted by thousandths of all `pages`.
    fn score(&self, pages: u64) -> i64 {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let shift = signed(pages / 1000).saturating_mul(i64::from(self.adjustment()));
        let tasks = (self.process.thread_count() as u64).saturating_mul(super::spawn::TASK_PAGES);
        signed(self.usage.resident_pages.saturating_add(tasks)).saturating_add(shift)
    }
}

/// Shows every process that the budget pays for, one at a time: there may be very many, and no memory for a list of them.
fn each_candidate(short: &Budget, mut look: impl FnMut(Candidate)) {
    let containers: Vec<_> = WATCHED.lock().iter().filter_map(Weak::upgrade).collect();
    for container in containers.iter().filter(|container| container.budget.is_within(short)) {
        container.each_process().filter_map(Candidate::of).for_each(&mut look);
    }
}

/// Set while somebody looks for a victim: the others wait for what comes of it.
static LOOKING: AtomicBool = AtomicBool::new(false);

impl Killer for OomKiller {
    fn relieve(&self, sleeper: &Sleeper, short: &Budget) -> Relief {
        if LOOKING.swap(true, Ordering::Acquire) {
            return wait(sleeper);
        }
        let relief = look(sleeper, short);
        LOOKING.store(false, Ordering::Release);
        relief.unwrap_or_else(|| wait(sleeper))
    }
}

fn wait(sleeper: &Sleeper) -> Relief {
    sleeper.park(Some(sleeper.now_ns() + PAUSE_NS));
    Relief::Coming
}

/// Chooses a process unless one is ending already; `None` when memory comes free.
fn look(sleeper: &Sleeper, short: &Budget) -> Option<Relief> {
    let now = sleeper.now_ns();
    let waker = sleeper.waker();
    let pages = short.limit().min(u64::from(frame::usage().0));
    let (mut is_one_ending, mut is_own_ending) = (false, false);
    let mut victim: Option<((i64, u32), Candidate)> = None;
    each_candidate(short, |candidate| {
        if candidate.is_ending() {
            is_one_ending = true;
            is_own_ending |= candidate.process.is_woken_by(&waker);
        } else if candidate.adjustment() > NEVER {
            let rank = (candidate.score(pages), candidate.process.pid());
            if victim.as_ref().is_none_or(|(best, _)| *best < rank) {
                victim = Some((rank, candidate));
            }
        }
    });
    if is_one_ending {
        let is_late = now.saturating_sub(LAST_NS.load(Ordering::Relaxed)) > PATIENCE_NS;
        return (is_late || is_own_ending).then_some(Relief::None);
    }
    if is_coming(short, now) {
        return None;
    }
    let Some((_, victim)) = victim else { return Some(Relief::None) };
    for (place, value) in [(&LAST_NS, now), (&FEWEST, short.used()), (&FEWEST_NS, now)] {
        place.store(value, Ordering::Relaxed);
    }
    report(&victim, short);
    let mut is_own = false;
    each_candidate(short, |candidate| {
        if candidate.mm.id() == victim.mm.id() {
            end(&candidate.process);
            is_own |= candidate.process.is_woken_by(&waker);
        }
    });
    is_own.then_some(Relief::None)
}

fn end(process: &Process) {
    let container = &process.container;
    container.oom_kills.fetch_add(1, Ordering::Relaxed);
    process.begin_exit(ExitStatus::Killed(Signal::KILL));
    container.changed.wake_all();
}

/// Says it as Linux does.
fn report(victim: &Candidate, short: &Budget) {
    let whole = core::ptr::eq(short, &*Budget::root());
    let name = victim.process.last_name();
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let usage = &victim.usage;
    let uid = victim.process.any_thread().map_or(0, |task| task.creds().uid);
    crate::log::write(&format!(
        "{}: Killed process {} ({}) total-vm:{}kB, anon-rss:{}kB, file-rss:{}kB, UID:{uid} oom_score_adj:{}\n",
        if whole { "Out of memory" } else { "Memory cgroup out of memory" },
        victim.process.pid(),
        String::from_utf8_lossy(name),
        usage.virtual_pages * 4,
        usage.resident_pages.saturating_sub(usage.shared_pages) * 4,
        usage.shared_pages * 4,
        victim.adjustment()
    ));
}

/// The task needs memory and there is none to be had: its process ends.
pub(crate) fn no_relief(task: &Task) {
    if !task.work().contains(Work::EXIT) {
        let process = task.process();
        crate::log::write(&format!("Out of memory: process {} finds nobody else to end\n", process.pid()));
        end(process);
    }
}
