//! A guest of a few instructions for the VMM's own tests: checks its boot information, writes a line to the log ring,
//! increments initialised data and bss, and powers off.
#![no_std]
#![no_main]

use core::arch::{asm, naked_asm};

const MAGIC: u64 = u64::from_le_bytes(*b"CHITIN\0\x01");
const PORT_POWER: u16 = 0x600;
const PORT_LOG: u16 = 0x608;
const LOG_RING: u64 = 0x1000;
const TEXT: &[u8] = b"test guest: here\ntest guest: no newline at the end";

static mut DATA: u32 = 41;
static mut BSS: u32 = 0;

fn out(port: u16, value: u32) {
    // SAFETY: a port write touches no memory of this guest.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nomem, nostack)) }
}

#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    naked_asm!("call {main}", "ud2", main = sym main)
}

extern "C" fn main(info: *const u64, cpu: u64) -> ! {
    // SAFETY: the VMM maps the boot information and the log ring behind it; one CPU runs, and nothing else uses the statics.
    unsafe {
        let good = *info == MAGIC && cpu == 0 && DATA == 41 && BSS == 0;
        DATA += 1;
        BSS += 1;
        let ring = (info as u64 + LOG_RING) as *mut u64;
        let text = (ring as *mut u8).add(16);
        let mut n = 0;
        while n < TEXT.len() {
            *text.add(n) = TEXT[n];
            n += 1;
        }
        ring.write_volatile(TEXT.len() as u64);
        out(PORT_LOG, 0);
        out(PORT_POWER, if good { 0 } else { 3 });
        loop {
            asm!("hlt");
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
