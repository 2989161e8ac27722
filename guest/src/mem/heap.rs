//! The kernel heap: the global allocator on top of frames.
//!
//! Small objects come from slabs, naturally aligned blocks of one size class with their header at the start; each CPU
//! keeps a magazine of free objects per class, so most calls touch no lock (kernel code is not preempted and interrupt
//! handlers do not allocate). Larger ones are whole blocks of 2^n frames, up to 2 MiB, and where there is none [`large`].
//! Empty slabs go back to the frame allocator. The sentry keeps frames back for the heap, by what it grants to programs;
//! behind that stands a small reserve, set aside at boot, and again when a CPU idles after it was touched.

use crate::arch::percpu;
use crate::mem::{HEAP, large};
use chitin_core::frame::{self, Block, FRAME_SIZE, MAX_ORDER};
use chitin_core::lock::SpinLock;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Sizes of objects. Each is a multiple of every alignment that is asked of it, see [`class_of`].
const CLASSES: [usize; 15] = [16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1360, 2048, 4080];
const CLASS_COUNT: usize = CLASSES.len();
/// Objects a magazine holds.
const MAGAZINE: usize = 16;
/// Order of the reserve: 256 KiB.
const RESERVE_ORDER: u8 = 6;

/// Free objects of one CPU.
pub(crate) struct Magazines {
    classes: [Magazine; CLASS_COUNT],
}

struct Magazine {
    count: usize,
    objects: [*mut u8; MAGAZINE],
}

impl Magazines {
    pub(crate) const fn new() -> Self {
        Self { classes: [const { Magazine { count: 0, objects: [null_mut(); MAGAZINE] } }; CLASS_COUNT] }
    }
}

/// Header of a slab; the objects follow in the same block.
struct Slab {
    next: *mut Slab,
    prev: *mut Slab,
    free: *mut FreeObject,
    /// Objects from here to the end were never handed out.
    fresh: *mut u8,
    used: u32,
    capacity: u32,
}

struct FreeObject {
    next: *mut FreeObject,
}

/// Slabs of one class that have free objects.
struct Class {
    partial: *mut Slab,
}

struct Slabs {
    classes: [Class; CLASS_COUNT],
}

// SAFETY: the pointers are to blocks that the heap owns; the lock around `Slabs` serialises their use.
unsafe impl Send for Slabs {}

static SLABS: SpinLock<Slabs> =
    SpinLock::new(HEAP, Slabs { classes: [const { Class { partial: null_mut() } }; CLASS_COUNT] });
static RESERVE: SpinLock<Option<Block>> = SpinLock::new(HEAP, None);
static RESERVE_WHOLE: AtomicBool = AtomicBool::new(false);
static USED: AtomicUsize = AtomicUsize::new(0);

/// Index of the smallest class for a layout, `None` if it takes whole blocks.
#[inline]
fn class_of(layout: Layout) -> Option<usize> {
    let (size, align) = (layout.size(), layout.align());
    if size > 2048 || align > 1024 {
        // 4080 is for one object in its own frame-sized slab, so that whole frames are not doubled.
        return (size <= 4080 && align <= 16).then_some(CLASS_COUNT - 1);
    }
    let mut index = match size {
        0..=16 => 0,
        17..=32 => 1,
        33..=48 => 2,
        49..=64 => 3,
        65..=96 => 4,
        97..=128 => 5,
        129..=192 => 6,
        193..=256 => 7,
        257..=384 => 8,
        385..=512 => 9,
        513..=768 => 10,
        769..=1024 => 11,
        1025..=1360 => 12,
        _ => 13,
    };
    while !CLASSES.get(index)?.is_multiple_of(align) {
        index += 1;
    }
    Some(index)
}

/// Order of a class's slabs.
const fn slab_order(size: usize) -> u8 {
    match size {
        0..=384 => 0,
        385..=768 => 1,
        _ => 3,
    }
}

/// Offset of the first object: after the header, aligned like every object.
const fn first_object(size: usize) -> usize {
    size_of::<Slab>().next_multiple_of(align_of_class(size))
}

/// Largest power of two that divides a class's size, at most 1024.
const fn align_of_class(size: usize) -> usize {
    let align = 1 << size.trailing_zeros();
    if align > 1024 { 1024 } else { align }
}

fn order_of(size: usize) -> u8 {
    let frames = size.div_ceil(FRAME_SIZE).next_power_of_two();
    frames.trailing_zeros().min(u32::from(u8::MAX)) as u8
}

/// A whole block, zeroed.
fn plain_block(order: u8) -> Option<NonNull<u8>> {
    let block = if order > MAX_ORDER { None } else { Block::zeroed(order) }?;
    let pointer = NonNull::new(block.as_ptr());
    USED.fetch_add(block.size(), Ordering::Relaxed);
    let _: (u32, u8) = block.into_raw();
    pointer
}

/// A whole block, if need be of the reserve.
fn take_block(order: u8) -> Option<NonNull<u8>> {
    plain_block(order).or_else(|| {
        open_reserve();
        plain_block(order)
    })
}

/// `size` bytes in whole frames, in one block or not.
fn take_frames(size: usize) -> Option<NonNull<u8>> {
    let take = || plain_block(order_of(size)).or_else(|| NonNull::new(large::take(size)?));
    take().or_else(|| {
        open_reserve();
        take()
    })
}

/// The whole reserve goes back to the frame allocator; what is left of it serves the next calls.
#[cold]
fn open_reserve() {
    RESERVE_WHOLE.store(false, Ordering::Relaxed);
    let reserve = RESERVE.try_lock().and_then(|mut reserve| reserve.take());
    drop(reserve);
}

/// # Safety
/// `pointer` came from `take_block(order)` and has no user any more.
unsafe fn give_block(pointer: *mut u8, order: u8) {
    let number = (crate::mem::physical(pointer) - chitin_proto::layout::RAM_GPA) / FRAME_SIZE as u64;
    USED.fetch_sub(FRAME_SIZE << order, Ordering::Relaxed);
    // SAFETY: the number is that of the block given up by `take_block`.
    drop(unsafe { Block::from_raw((number as u32, order)) });
}

/// Sets the reserve aside, or fills it up again if memory is not short; the frames are not touched.
pub(crate) fn refill_reserve() {
    if RESERVE_WHOLE.load(Ordering::Relaxed) || frame::is_low() {
        return;
    }
    if let Some(block) = Block::zeroed(RESERVE_ORDER) {
        *RESERVE.lock() = Some(block);
        RESERVE_WHOLE.store(true, Ordering::Relaxed);
    }
}

/// Bytes in slabs and blocks.
#[cfg(feature = "selftest")]
pub(crate) fn used() -> usize {
    USED.load(Ordering::Relaxed)
}

impl Slabs {
    fn take(&mut self, index: usize) -> Option<*mut u8> {
        let size = *CLASSES.get(index)?;
        let class = self.classes.get_mut(index)?;
        if class.partial.is_null() {
            class.partial = new_slab(size)?;
        }
        let slab = class.partial;
        // SAFETY: slabs in the list are live blocks with an initialised header; the lock is held.
        unsafe {
            let object = if (*slab).free.is_null() {
                let object = (*slab).fresh;
                (*slab).fresh = object.add(size);
                object
            } else {
                let object = (*slab).free;
                (*slab).free = (*object).next;
                object.cast()
            };
            (*slab).used += 1;
            if (*slab).used == (*slab).capacity {
                class.partial = (*slab).next;
                if !class.partial.is_null() {
                    (*class.partial).prev = null_mut();
                }
                (*slab).next = null_mut();
            }
            Some(object)
        }
    }

    /// # Safety
    /// `object` was taken from class `index` and has no user any more.
    unsafe fn give(&mut self, index: usize, object: *mut u8) {
        let (Some(size), Some(class)) = (CLASSES.get(index), self.classes.get_mut(index)) else { return };
        let order = slab_order(*size);
        let slab = (object as usize & !((FRAME_SIZE << order) - 1)) as *mut Slab;
        // SAFETY: blocks are aligned to their size, so the header of the object's slab is there; the lock is held.
        unsafe {
            let free = object.cast::<FreeObject>();
            (*free).next = (*slab).free;
            (*slab).free = free;
            if (*slab).used == (*slab).capacity {
                (*slab).next = class.partial;
                (*slab).prev = null_mut();
                if !class.partial.is_null() {
                    (*class.partial).prev = slab;
                }
                class.partial = slab;
            }
            (*slab).used -= 1;
            // One empty slab stays.
            let alone = (*slab).next.is_null() && (*slab).prev.is_null();
            if (*slab).used == 0 && !alone {
                if (*slab).prev.is_null() {
                    class.partial = (*slab).next;
                } else {
                    (*(*slab).prev).next = (*slab).next;
                }
                if !(*slab).next.is_null() {
                    (*(*slab).next).prev = (*slab).prev;
                }
                give_block(slab.cast(), order);
            }
        }
    }
}

fn new_slab(size: usize) -> Option<*mut Slab> {
    let order = slab_order(size);
    let block = take_block(order)?;
    let (bytes, first) = (FRAME_SIZE << order, first_object(size));
    let slab = block.cast::<Slab>().as_ptr();
    // SAFETY: a fresh block, large enough for the header and at least one object.
    unsafe {
        slab.write(Slab {
            next: null_mut(),
            prev: null_mut(),
            free: null_mut(),
            fresh: block.as_ptr().add(first),
            used: 0,
            capacity: ((bytes - first) / size) as u32,
        });
    }
    Some(slab)
}

/// The global allocator.
struct Heap;

#[global_allocator]
static HEAP_ALLOCATOR: Heap = Heap;

#[cold]
fn fill(magazine: &mut Magazine, index: usize) -> *mut u8 {
    let mut slabs = SLABS.lock();
    let Some(object) = slabs.take(index) else { return null_mut() };
    while magazine.count < MAGAZINE / 2 {
        let Some(more) = slabs.take(index) else { break };
        if let Some(slot) = magazine.objects.get_mut(magazine.count) {
            *slot = more;
            magazine.count += 1;
        }
    }
    object
}

#[cold]
fn spill(magazine: &mut Magazine, index: usize) {
    let mut slabs = SLABS.lock();
    while magazine.count > MAGAZINE / 2 {
        magazine.count -= 1;
        if let Some(object) = magazine.objects.get(magazine.count) {
            // SAFETY: objects in a magazine are free objects of its class.
            unsafe { slabs.give(index, *object) };
        }
    }
}

// SAFETY: objects are disjoint, aligned as `class_of` and block alignment provide, and live until given back. The
// magazines belong to this CPU, and nothing between `this()` and the last use of the reference parks or takes an
// interrupt handler into the heap.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(index) = class_of(layout) else {
            let size = layout.size().max(layout.align());
            return take_frames(size).map_or(null_mut(), NonNull::as_ptr);
        };
        // SAFETY: this CPU's magazines, see above.
        let magazines = unsafe { &mut *percpu::this().magazines.get() };
        let Some(magazine) = magazines.classes.get_mut(index) else { return null_mut() };
        if magazine.count == 0 {
            return fill(magazine, index);
        }
        magazine.count -= 1;
        magazine.objects.get(magazine.count).copied().unwrap_or(null_mut())
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let Some(index) = class_of(layout) else {
            let size = layout.size().max(layout.align());
            // SAFETY: `alloc` took it for this layout, as its address tells from where.
            unsafe {
                if large::contains(pointer) {
                    large::give(pointer, size);
                } else {
                    give_block(pointer, order_of(size));
                }
            }
            return;
        };
        // SAFETY: this CPU's magazines, see above.
        let magazines = unsafe { &mut *percpu::this().magazines.get() };
        let Some(magazine) = magazines.classes.get_mut(index) else { return };
        if magazine.count == MAGAZINE {
            spill(magazine, index);
        }
        if let Some(slot) = magazine.objects.get_mut(magazine.count) {
            *slot = pointer;
            magazine.count += 1;
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract.
        let pointer = unsafe { self.alloc(layout) };
        // Whole blocks come zeroed.
        if !pointer.is_null() && class_of(layout).is_some() {
            // SAFETY: `pointer` has `layout.size()` bytes.
            unsafe { pointer.write_bytes(0, layout.size()) };
        }
        pointer
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller vouches that the new size makes a valid layout.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        let same = match (class_of(layout), class_of(new_layout)) {
            (Some(old), Some(new)) => old == new,
            (None, None) => {
                let (old, new) = (layout.size().max(layout.align()), new_size.max(layout.align()));
                let pages = |size: usize| size.div_ceil(FRAME_SIZE);
                if large::contains(pointer) {
                    pages(old) == pages(new)
                } else {
                    order_of(old) == order_of(new)
                }
            }
            _ => false,
        };
        if same {
            return pointer;
        }
        // SAFETY: the caller's contract; the new object is another one.
        unsafe {
            let new = self.alloc(new_layout);
            if !new.is_null() {
                new.copy_from_nonoverlapping(pointer, layout.size().min(new_size));
                self.dealloc(pointer, layout);
            }
            new
        }
    }
}
