//! [`Heap`]: runnable threads by their keys, the lowest first; a skew heap through the threads themselves, so that nothing is
//! allocated in a switch and any thread can be taken out.
//!
//! Operations take logarithmic time, averaged over many. Equal keys are taken about in the order in which they came.

use crate::sched::thread::Thread;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};

/// A thread's place in a heap. Changed under the lock of the queue that the thread is in.
pub(crate) struct Links {
    /// What the heap is ordered by. Keys are compared by their distance, which is below 2^63.
    pub(crate) key: AtomicU64,
    left: AtomicPtr<Thread>,
    right: AtomicPtr<Thread>,
    up: AtomicPtr<Thread>,
}

impl Links {
    pub(crate) const fn new() -> Self {
        Self {
            key: AtomicU64::new(0),
            left: AtomicPtr::new(null_mut()),
            right: AtomicPtr::new(null_mut()),
            up: AtomicPtr::new(null_mut()),
        }
    }
}

/// Whether `a` comes before `b`.
#[inline]
pub(crate) const fn is_before(a: u64, b: u64) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

/// The lesser of two keys' places in time; see [`is_before`].
#[inline]
pub(crate) const fn later(a: u64, b: u64) -> u64 {
    if is_before(a, b) { b } else { a }
}

/// See the module.
pub(crate) struct Heap {
    root: *mut Thread,
}

/// # Safety
/// `thread` is alive.
unsafe fn links<'a>(thread: *mut Thread) -> &'a Links {
    // SAFETY: the caller's contract.
    unsafe { &(*thread).links }
}

/// Joins two heaps.
///
/// # Safety
/// Both are null or roots of heaps of living threads, with nothing in common.
unsafe fn merge(mut a: *mut Thread, mut b: *mut Thread) -> *mut Thread {
    let mut root = null_mut();
    let mut above: *mut Thread = null_mut();
    // SAFETY: all that is reached is alive.
    unsafe {
        loop {
            let rest = if a.is_null() { b } else { a };
            let both = !a.is_null() && !b.is_null();
            if both && is_before(links(b).key.load(Relaxed), links(a).key.load(Relaxed)) {
                core::mem::swap(&mut a, &mut b);
            }
            let next = if both { a } else { rest };
            if above.is_null() {
                root = next;
            } else {
                links(above).left.store(next, Relaxed);
            }
            if !next.is_null() {
                links(next).up.store(above, Relaxed);
            }
            if !both {
                return root;
            }
            // The children change sides, and the other heap goes below the one on the left.
            let right = links(a).right.load(Relaxed);
            links(a).right.store(links(a).left.load(Relaxed), Relaxed);
            above = a;
            a = right;
        }
    }
}

impl Heap {
    pub(crate) const fn new() -> Self {
        Self { root: null_mut() }
    }

    /// Nobody is in it.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.root.is_null()
    }

    /// The thread that comes first, null if there is none.
    #[inline]
    pub(crate) const fn first(&self) -> *mut Thread {
        self.root
    }

    /// The key of the thread that comes first.
    #[inline]
    pub(crate) fn first_key(&self) -> Option<u64> {
        // SAFETY: threads in a heap are alive.
        (!self.root.is_null()).then(|| unsafe { links(self.root) }.key.load(Relaxed))
    }

    /// Adds a thread, whose key is set.
    ///
    /// # Safety
    /// It is alive until it is taken out, and in no heap.
    pub(crate) unsafe fn insert(&mut self, thread: *mut Thread) {
        // SAFETY: the caller's contract.
        unsafe {
            let own = links(thread);
            own.left.store(null_mut(), Relaxed);
            own.right.store(null_mut(), Relaxed);
            self.root = merge(self.root, thread);
        }
    }

    /// Takes a thread out.
    ///
    /// # Safety
    /// It is in this heap.
    pub(crate) unsafe fn remove(&mut self, thread: *mut Thread) {
        // SAFETY: the caller's contract; threads in a heap are alive.
        unsafe {
            let own = links(thread);
            let up = own.up.load(Relaxed);
            let below = merge(own.left.load(Relaxed), own.right.load(Relaxed));
            if !below.is_null() {
                links(below).up.store(up, Relaxed);
            }
            if up.is_null() {
                self.root = below;
            } else if links(up).left.load(Relaxed) == thread {
                links(up).left.store(below, Relaxed);
            } else {
                links(up).right.store(below, Relaxed);
            }
        }
    }

    /// A thread that `fits`, about the first such; null if there is none.
    pub(crate) fn find(&self, fits: impl Fn(&Thread) -> bool) -> *mut Thread {
        let mut at = self.root;
        // SAFETY: threads in a heap are alive.
        unsafe {
            while !at.is_null() {
                if fits(&*at) {
                    return at;
                }
                at = Self::following(at);
            }
        }
        at
    }

    /// The next thread in the order of the tree: below, else to the right of one above.
    ///
    /// # Safety
    /// `at` is in this heap.
    unsafe fn following(mut at: *mut Thread) -> *mut Thread {
        // SAFETY: threads in a heap are alive.
        unsafe {
            let (left, right) = (links(at).left.load(Relaxed), links(at).right.load(Relaxed));
            if !left.is_null() || !right.is_null() {
                return if left.is_null() { right } else { left };
            }
            loop {
                let up = links(at).up.load(Relaxed);
                if up.is_null() {
                    return up;
                }
                let right = links(up).right.load(Relaxed);
                if links(up).left.load(Relaxed) == at && !right.is_null() {
                    return right;
                }
                at = up;
            }
        }
    }
}
