//! The vDSO image: clock functions that run in user mode, compiled on their own and embedded into the guest kernel.
//!
//! They compute what the kernel's system calls compute, from the TSC and the data page that follows the image; a clock
//! that is not there is asked of the kernel. vdso(7).
#![no_std]
#![no_main]

use core::arch::asm;
use core::sync::atomic::{Ordering, fence};

#[path = "../src/vdso/data.rs"]
mod data;
use data::Data;

const SYS_GETTIMEOFDAY: i64 = 96;
const SYS_CLOCK_GETTIME: i64 = 228;
const SYS_CLOCK_GETRES: i64 = 229;
const NS_PER_S: u64 = 1_000_000_000;
/// What the coarse clocks' resolution is said to be: 250 Hz.
const COARSE_NS: i64 = 4_000_000;

#[repr(C)]
pub struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

#[repr(C)]
pub struct Timeval {
    seconds: i64,
    microseconds: i64,
}

#[repr(C)]
pub struct Timezone {
    minutes_west: i32,
    dst_time: i32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Clock {
    Realtime,
    Monotonic,
}

fn clock(id: i32) -> Option<Clock> {
    match id {
        0 | 5 | 11 => Some(Clock::Realtime),
        1 | 4 | 6 | 7 => Some(Clock::Monotonic),
        _ => None,
    }
}

#[inline(always)]
fn page() -> *const Data {
    let page: *const Data;
    // SAFETY: reads registers or makes a system call; touches no memory of this image.
    unsafe { asm!("lea {}, [rip + chitin_vdso_data]", out(reg) page, options(nomem, nostack, preserves_flags)) };
    page
}

#[inline(always)]
fn tsc() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads registers or makes a system call; touches no memory of this image.
    unsafe { asm!("lfence", "rdtsc", out("eax") low, out("edx") high, options(nostack, preserves_flags)) };
    u64::from(high) << 32 | u64::from(low)
}

#[inline(always)]
fn now(clock: Clock) -> u64 {
    loop {
        let page = page();
        // SAFETY: the data page lies behind the image for as long as it is mapped; reads are volatile.
        let before = unsafe { (&raw const (*page).sequence).read_volatile() };
        fence(Ordering::Acquire);
        // SAFETY: the data page lies behind the image for as long as it is mapped; reads are volatile.
        let data = unsafe { page.read_volatile() };
        let ticks = tsc();
        fence(Ordering::Acquire);
        // SAFETY: the data page lies behind the image for as long as it is mapped; reads are volatile.
        let after = unsafe { (&raw const (*page).sequence).read_volatile() };
        if before == after && before & 1 == 0 {
            return match clock {
                Clock::Monotonic => data.monotonic(ticks),
                Clock::Realtime => data.realtime(ticks),
            };
        }
    }
}

#[inline(always)]
unsafe fn syscall2(number: i64, first: u64, second: u64) -> i64 {
    let result: i64;
    // SAFETY: reads registers or makes a system call; touches no memory of this image.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") first, in("rsi") second,
            lateout("rcx") _, lateout("r11") _, options(nostack))
    };
    result
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_clock_gettime(id: i32, time: *mut Timespec) -> i32 {
    let Some(clock) = clock(id) else {
        // SAFETY: the kernel checks the pointers itself.
        return unsafe { syscall2(SYS_CLOCK_GETTIME, id as i64 as u64, time as u64) } as i32;
    };
    let now = now(clock);
    // SAFETY: the caller's pointer, as the C interface has it; a bad one faults in the caller.
    unsafe { time.write(Timespec { seconds: (now / NS_PER_S) as i64, nanoseconds: (now % NS_PER_S) as i64 }) };
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_clock_getres(id: i32, time: *mut Timespec) -> i32 {
    if clock(id).is_none() {
        // SAFETY: the kernel checks the pointers itself.
        return unsafe { syscall2(SYS_CLOCK_GETRES, id as i64 as u64, time as u64) } as i32;
    }
    if !time.is_null() {
        let nanoseconds = if id == 5 || id == 6 { COARSE_NS } else { 1 };
        // SAFETY: the caller's pointer, as the C interface has it; a bad one faults in the caller.
        unsafe { time.write(Timespec { seconds: 0, nanoseconds }) };
    }
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_gettimeofday(time: *mut Timeval, zone: *mut Timezone) -> i32 {
    if !zone.is_null() {
        // SAFETY: the kernel checks the pointers itself.
        return unsafe { syscall2(SYS_GETTIMEOFDAY, time as u64, zone as u64) } as i32;
    }
    if !time.is_null() {
        let now = now(Clock::Realtime);
        let microseconds = (now % NS_PER_S / 1000) as i64;
        // SAFETY: the caller's pointer, as the C interface has it; a bad one faults in the caller.
        unsafe { time.write(Timeval { seconds: (now / NS_PER_S) as i64, microseconds }) };
    }
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_time(time: *mut i64) -> i64 {
    let seconds = (now(Clock::Realtime) / NS_PER_S) as i64;
    if !time.is_null() {
        // SAFETY: the caller's pointer, as the C interface has it; a bad one faults in the caller.
        unsafe { time.write(seconds) };
    }
    seconds
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_getcpu(cpu: *mut u32, node: *mut u32, _cache: *mut u8) -> i64 {
    let limit: u64;
    // The kernel keeps the CPU number in the limit of this segment, as Linux does.
    // SAFETY: reads registers or makes a system call; touches no memory of this image.
    unsafe { asm!("lsl {0}, {1}", out(reg) limit, in(reg) 0x7bu64, options(nomem, nostack)) };
    if !cpu.is_null() {
        // SAFETY: the caller's pointer, as the C interface has it; a bad one faults in the caller.
        unsafe { cpu.write(limit as u32 & 0xfff) };
    }
    if !node.is_null() {
        // SAFETY: the caller's pointer, as the C interface has it; a bad one faults in the caller.
        unsafe { node.write(0) };
    }
    0
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
