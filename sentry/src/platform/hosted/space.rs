//! An address space as a map of pages.

use crate::platform::{CopyFault, OutOfMemory, Perm, Space};
use crate::user::UserAddr;
use chitin_core::frame::{Alias, FRAME_SIZE, Frame};
use core::sync::atomic::Ordering;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Default)]
pub(super) struct HostedSpace {
    pages: Mutex<BTreeMap<u64, (Alias, Perm)>>,
}

impl HostedSpace {
    fn pages(&self) -> MutexGuard<'_, BTreeMap<u64, (Alias, Perm)>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn walk(
        &self,
        at: UserAddr,
        len: usize,
        need: Perm,
        mut copy: impl FnMut(&Frame, usize, usize, usize),
    ) -> Result<(), CopyFault> {
        let pages = self.pages();
        let mut done = 0;
        while done < len {
            let here = at.checked_add(done as u64).ok_or(CopyFault { done })?;
            let (frame, _) = (pages.get(&here.page_down().get()))
                .filter(|(_, perm)| perm.contains(need))
                .ok_or(CopyFault { done })?;
            assert!(frame.handles() > 0, "page {here:?} maps a frame that was freed");
            let part = (FRAME_SIZE - here.page_offset()).min(len - done);
            copy(frame, here.page_offset(), done, part);
            done += part;
        }
        Ok(())
    }

    fn each(&self, from: UserAddr, pages: usize, mut change: impl FnMut(&mut Perm)) {
        let end = from.get().saturating_add((pages as u64) << 12);
        self.pages().range_mut(from.get()..end).for_each(|(_, (_, perm))| change(perm));
    }
}

impl Space for HostedSpace {
    fn map(&self, at: UserAddr, frame: &Frame, perm: Perm) -> Result<(), OutOfMemory> {
        self.pages().insert(at.page_down().get(), (frame.alias(), perm));
        Ok(())
    }

    fn write_protect(&self, from: UserAddr, pages: usize) {
        self.each(from, pages, |perm| perm.remove(Perm::WRITE));
    }

    fn restrict(&self, from: UserAddr, pages: usize, perm: Perm) {
        self.each(from, pages, |old| *old &= perm);
    }

    fn unmap(&self, from: UserAddr, pages: usize) {
        let end = from.get().saturating_add((pages as u64) << 12);
        self.pages().retain(|at, _| *at < from.get() || *at >= end);
    }

    fn copy_in(&self, from: UserAddr, to: &mut [u8]) -> Result<(), CopyFault> {
        self.walk(from, to.len(), Perm::READ, |frame, offset, done, part| {
            frame.copy_out(offset, to.get_mut(done..done + part).unwrap_or_default());
        })
    }

    fn copy_out(&self, to: UserAddr, from: &[u8]) -> Result<(), CopyFault> {
        self.walk(to, from.len(), Perm::READ | Perm::WRITE, |frame, offset, done, part| {
            frame.copy_in(offset, from.get(done..done + part).unwrap_or_default());
        })
    }

    fn load_u32(&self, at: UserAddr) -> Result<u32, CopyFault> {
        let mut value = [0; 4];
        self.copy_in(at, &mut value)?;
        Ok(u32::from_le_bytes(value))
    }

    fn compare_exchange_u32(&self, at: UserAddr, current: u32, new: u32) -> Result<u32, CopyFault> {
        let mut found = Err(CopyFault { done: 0 });
        self.walk(at, 4, Perm::READ | Perm::WRITE, |frame, offset, _, _| {
            if let Some(word) = frame.word(offset) {
                let exchanged = word.compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst);
                found = Ok(exchanged.unwrap_or_else(|held| held));
            }
        })?;
        found
    }
}
