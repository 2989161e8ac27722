//! The first block device, an image of 1 MiB, and the second, of 64 KiB that is only to be read.

use super::{check, check_eq, measure};
use crate::clock;
use crate::platform::Guest;
use alloc::vec::Vec;
use chitin_core::frame::{FRAME_SIZE, Frame};
use chitin_core::sleep::Sleeper;
use chitin_sentry::platform::{BlockError, BlockPort, BlockRequest};

const ROUNDS: u64 = 50;

fn frames(count: usize) -> Vec<Frame> {
    (0..count).filter_map(|_| Frame::zeroed()).collect()
}

fn byte(frame: &Frame, at: usize) -> u8 {
    let mut byte = [0];
    frame.copy_out(at, &mut byte);
    byte[0]
}

pub(super) fn run(sleeper: &Sleeper, port: &'static dyn BlockPort) {
    let geometry = port.geometry();
    check_eq("block device's sectors", &geometry.map(|geometry| geometry.sectors), &Some(2048));
    check_eq("block size", &geometry.map(|geometry| geometry.block_size), &Some(512));
    let written = frames(3);
    for (number, frame) in written.iter().enumerate() {
        for at in 0..FRAME_SIZE {
            frame.copy_in(at, &[(at as u8).wrapping_add(number as u8)]);
        }
    }
    let (sector, len) = (136, 3 * FRAME_SIZE - 512);
    let done = port.call(sleeper, BlockRequest::Write { sector, frames: &written, len });
    check_eq("block write", &done, &Ok(()));
    check_eq("block flush", &port.call(sleeper, BlockRequest::Flush), &Ok(()));
    let read = frames(3);
    let done = port.call(sleeper, BlockRequest::Read { sector, frames: &read, len: 3 * FRAME_SIZE });
    check_eq("block read", &done, &Ok(()));
    let same = (0..len).all(|at| {
        byte(&read[at / FRAME_SIZE], at % FRAME_SIZE) == byte(&written[at / FRAME_SIZE], at % FRAME_SIZE)
    });
    check("what was written is read", same && byte(&read[2], FRAME_SIZE - 1) == 0);
    let beyond = port.call(sleeper, BlockRequest::Read { sector: 2047, frames: &read, len: 1024 });
    check_eq("block read beyond the end", &beyond, &Err(BlockError::Io));
    let zeroes = BlockRequest::WriteZeroes { sector: 144, sectors: 8, unmap: true };
    check_eq("block write of zeroes", &port.call(sleeper, zeroes), &Ok(()));
    let _ = port.call(sleeper, BlockRequest::Read { sector: 144, frames: &read, len: FRAME_SIZE });
    check_eq("zeroes are read", &(0..FRAME_SIZE).all(|at| byte(&read[0], at) == 0), &true);
    let mut serial = [0; 20];
    check_eq("block serial", &port.call(sleeper, BlockRequest::Identify(&mut serial)), &Ok(()));
    check_eq("block serial's text", &serial.get(..6), &Some(&b"boot0\0"[..]));
    let begin = clock::now_ns();
    for _ in 0..ROUNDS {
        let _ = port.call(sleeper, BlockRequest::Read { sector: 0, frames: &read, len: FRAME_SIZE });
    }
    measure("block-read-4k", clock::now_ns() - begin, ROUNDS);
    let second = Guest::get().block(1);
    if let Some(second) = second.filter(|second| second.geometry().is_some()) {
        check("second device is read-only", second.geometry().is_some_and(|geometry| geometry.is_read_only));
        let done = second.call(sleeper, BlockRequest::Write { sector: 0, frames: &written, len: 512 });
        check_eq("write to it fails", &done, &Err(BlockError::Io));
        let _ = second.call(sleeper, BlockRequest::Read { sector: 0, frames: &read, len: 512 });
        check_eq("it is read", &byte(&read[0], 511), &b'R');
    }
    check("third slot is empty", Guest::get().block(2).is_none_or(|third| third.geometry().is_none()));
}
