//! Boot page tables: the direct map with the largest pages there are, and the kernel image with 4 KiB pages of which none
//! is both writable and executable.

use super::image::Image;
use super::memory::{GuestRam, MemoryError};
use super::plan::Plan;
use chitin_proto::layout::{self, PAGE_SIZE};

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const GLOBAL: u64 = 1 << 8;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

const SIZE_2M: u64 = 1 << 21;
const SIZE_1G: u64 = 1 << 30;

/// Largest page that the direct map may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LargestPage {
    /// 2 MiB.
    Size2M,
    /// 1 GiB (CPUID 0x80000001 EDX bit 26).
    Size1G,
}

/// Where the tables ended up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tables {
    /// Guest-physical address of the PML4.
    pub pml4: u64,
    /// First page after the tables.
    pub end: u64,
}

struct Builder<'a> {
    ram: &'a GuestRam,
    next: u64,
    pml4: u64,
}

impl Builder<'_> {
    fn table(&mut self) -> u64 {
        let at = self.next;
        self.next += PAGE_SIZE;
        at
    }

    /// Sets the entry of `va` at `level` (0 = 4 KiB, 1 = 2 MiB, 2 = 1 GiB), making the tables above it.
    fn set(&mut self, va: u64, level: u32, entry: u64) -> Result<(), MemoryError> {
        let mut table = self.pml4;
        for upper in (level + 1..4).rev() {
            let slot = table + (va >> (12 + 9 * upper) & 511) * 8;
            let found: u64 = self.ram.read_value(slot)?;
            table = if found & PRESENT == 0 {
                let fresh = self.table();
                self.ram.write_value(slot, &(fresh | PRESENT | WRITABLE | ACCESSED))?;
                fresh
            } else {
                found & ADDRESS
            };
        }
        self.ram.write_value(table + (va >> (12 + 9 * level) & 511) * 8, &entry)
    }
}

/// Builds the tables at [`Plan::tables`].
///
/// # Errors
/// [`MemoryError::OutOfRange`] when RAM is too small for them.
pub fn build(
    ram: &GuestRam,
    plan: &Plan,
    image: &Image,
    largest: LargestPage,
) -> Result<Tables, MemoryError> {
    let mut builder = Builder { ram, next: plan.tables, pml4: 0 };
    builder.pml4 = builder.table();
    let data = PRESENT | WRITABLE | ACCESSED | DIRTY | GLOBAL | NO_EXECUTE;

    let mut gpa = layout::RAM_GPA;
    while gpa < ram.end() {
        let whole = gpa.is_multiple_of(SIZE_1G) && gpa + SIZE_1G <= ram.end();
        let (level, size) = if largest == LargestPage::Size1G && whole { (2, SIZE_1G) } else { (1, SIZE_2M) };
        builder.set(layout::DIRECT_VA + gpa, level, gpa | data | LARGE)?;
        gpa += size;
    }
    for segment in image.read_only() {
        let rights = PRESENT | ACCESSED | DIRTY | GLOBAL | if segment.executable { 0 } else { NO_EXECUTE };
        for offset in (0..segment.len).step_by(4096) {
            let page = layout::IMAGE_GPA + segment.file_offset + offset;
            builder.set(segment.va + offset, 0, page | rights)?;
        }
    }
    for offset in (0..image.data_len()).step_by(4096) {
        builder.set(layout::DATA_VA + offset, 0, (plan.data + offset) | data)?;
    }
    Ok(Tables { pml4: builder.pml4, end: builder.next })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(ram: &GuestRam, pml4: u64, va: u64) -> Option<(u64, u64)> {
        let mut table = pml4;
        for level in (0..4u32).rev() {
            let entry: u64 = ram.read_value(table + (va >> (12 + 9 * level) & 511) * 8).unwrap();
            if entry & PRESENT == 0 {
                return None;
            }
            if level == 0 || (level < 3 && entry & LARGE != 0) {
                let mask = (1 << (12 + 9 * level)) - 1;
                return Some(((entry & ADDRESS & !mask) | (va & mask), entry));
            }
            table = entry & ADDRESS;
        }
        None
    }

    #[test]
    fn every_mapping_lands_where_it_should() {
        let image = Image::embedded().unwrap();
        for (size, largest) in
            [(64 << 20, LargestPage::Size2M), ((1 << 30) + (64 << 20), LargestPage::Size1G)]
        {
            let ram = GuestRam::new(size).unwrap();
            let plan = Plan::new(size, image.data_len(), 2, &[]).unwrap();
            let tables = build(&ram, &plan, &image, largest).unwrap();
            for gpa in [layout::RAM_GPA, layout::RAM_GPA + 0x12345, ram.end() - 1] {
                let (found, entry) = walk(&ram, tables.pml4, layout::DIRECT_VA + gpa).unwrap();
                assert_eq!(found, gpa);
                assert_ne!(entry & NO_EXECUTE, 0);
            }
            assert_eq!(walk(&ram, tables.pml4, layout::DIRECT_VA + ram.end()), None);
            assert_eq!(walk(&ram, tables.pml4, 0x1000), None);
            let (_, entry) = walk(&ram, tables.pml4, image.entry()).unwrap();
            assert_eq!(entry & (NO_EXECUTE | WRITABLE), 0);
        }
    }
}
