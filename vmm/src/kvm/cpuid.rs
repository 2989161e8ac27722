//! The CPUID baseline: what KVM supports, less what the guest shall not see.
//!
//! Taken away: AMX (its state is 8 KiB a task), protection keys, MPX, TSX, CET, SGX, processor trace, the PMU, nested
//! virtualization, supervisor XSAVE states. Added: x2APIC, TSC deadline timer, the hypervisor bit.

use kvm_bindings::{CpuId, kvm_cpuid_entry2};

/// XCR0 components the guest may have: x87, SSE, AVX, and AVX-512's three.
const XCR0_WANTED: u64 = 0b1110_0111;
const XCR0_AVX512: u64 = 0b1110_0000;

/// What the guest's CPU offers, as far as the VMM cares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuFeatures {
    /// XCR0 to set.
    pub xcr0: u64,
    /// Bytes of the standard-format XSAVE area for it.
    pub xsave_size: u32,
    /// 1 GiB pages.
    pub pages_1g: bool,
    /// CR4 bits beyond the fixed ones: FSGSBASE, SMEP, SMAP, UMIP.
    pub cr4: u64,
}

const fn set(register: &mut u32, bit: u32) {
    *register |= 1 << bit;
}

const fn clear(register: &mut u32, bits: &[u32]) {
    let mut n = 0;
    while n < bits.len() {
        *register &= !(1 << bits[n]);
        n += 1;
    }
}

/// Edits KVM's supported CPUID into the baseline; per-CPU fields are filled by [`for_cpu`].
pub fn baseline(cpuid: &mut CpuId) -> CpuFeatures {
    let mut features = CpuFeatures { xsave_size: 576, ..CpuFeatures::default() };
    for entry in cpuid.as_mut_slice() {
        match (entry.function, entry.index) {
            (1, _) => {
                set(&mut entry.ecx, 21); // x2APIC
                set(&mut entry.ecx, 24); // TSC deadline
                set(&mut entry.ecx, 31); // hypervisor
                clear(&mut entry.ecx, &[2, 3, 5, 6, 7, 8, 15]); // DTES64 MONITOR VMX SMX EIST TM2 PDCM
                set(&mut entry.edx, 28); // HTT: the APIC id count is valid
            }
            (7, 0) => structured_features(entry, &mut features),
            (7, 1) => clear(&mut entry.eax, &[21, 22, 17]), // AMX-FP16, HRESET, FRED
            (0xd, 0) => {
                let offered = u64::from(entry.eax) | u64::from(entry.edx) << 32;
                features.xcr0 = offered & XCR0_WANTED;
                if features.xcr0 & XCR0_AVX512 != XCR0_AVX512 {
                    features.xcr0 &= !XCR0_AVX512;
                }
                entry.eax = u32::try_from(features.xcr0).unwrap_or(7);
                entry.edx = 0;
            }
            (0xd, 1) => {
                clear(&mut entry.eax, &[3, 4]); // XSAVES, XFD
                (entry.ecx, entry.edx) = (0, 0);
            }
            (0xa | 0x12 | 0x14 | 0x1d | 0x1e | 0x8000_000a, _) => blank(entry),
            (0x8000_0001, _) => {
                features.pages_1g = entry.edx & 1 << 26 != 0;
                clear(&mut entry.ecx, &[2, 10, 12, 24]); // SVM IBS SKINIT perf counters
            }
            _ => {}
        }
    }
    let xcr0 = features.xcr0;
    for entry in cpuid.as_mut_slice().iter_mut().filter(|entry| entry.function == 0xd && entry.index > 1) {
        if entry.index < 64 && xcr0 & 1 << entry.index != 0 {
            features.xsave_size = features.xsave_size.max(entry.ebx.saturating_add(entry.eax));
        } else {
            blank(entry);
        }
    }
    if let Some(entry) = cpuid.as_mut_slice().iter_mut().find(|e| e.function == 0xd && e.index == 0) {
        (entry.ebx, entry.ecx) = (features.xsave_size, features.xsave_size);
    }
    features
}

fn structured_features(entry: &mut kvm_cpuid_entry2, features: &mut CpuFeatures) {
    clear(&mut entry.ebx, &[2, 4, 11, 12, 14, 15, 25]); // SGX HLE RTM PQM MPX PQE PT
    clear(&mut entry.ecx, &[3, 4, 5, 7, 30]); // PKU OSPKE WAITPKG CET-SS SGX-LC
    clear(&mut entry.edx, &[11, 20, 22, 24, 25]); // RTM-abort CET-IBT AMX-BF16 AMX-TILE AMX-INT8
    for (bit, cr4) in [(0, 16), (7, 20), (20, 21)] {
        // FSGSBASE, SMEP, SMAP
        features.cr4 |= u64::from(entry.ebx >> bit & 1) << cr4;
    }
    features.cr4 |= u64::from(entry.ecx >> 2 & 1) << 11; // UMIP
}

const fn blank(entry: &mut kvm_cpuid_entry2) {
    (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0);
}

/// The table of CPU `index` of `count`.
#[must_use]
pub fn for_cpu(table: &CpuId, index: u32, count: u32) -> CpuId {
    let mut table = table.clone();
    for entry in table.as_mut_slice() {
        match entry.function {
            1 => entry.ebx = entry.ebx & 0xff00_ffff & 0x00ff_ffff | index << 24 | (count.min(255)) << 16,
            0xb | 0x1f => topology(entry, index, count),
            _ => {}
        }
    }
    table
}

/// One thread per core, all cores in one package.
const fn topology(entry: &mut kvm_cpuid_entry2, index: u32, count: u32) {
    entry.edx = index;
    let shift = u32::BITS - (count - 1).leading_zeros();
    (entry.eax, entry.ebx, entry.ecx) = match entry.index {
        0 => (0, 1, 1 << 8),
        1 => (shift, count, 2 << 8 | 1),
        other => (0, 0, other),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(function: u32, index: u32, eax: u32) -> kvm_cpuid_entry2 {
        kvm_cpuid_entry2 { function, index, eax, ebx: !0, ecx: !0, edx: !0, ..Default::default() }
    }

    #[test]
    fn amx_and_its_state_are_gone() {
        let mut table = CpuId::from_entries(&[
            entry(1, 0, 0),
            entry(7, 0, 2),
            entry(0xd, 0, 0x6_02e7),
            kvm_cpuid_entry2 { ebx: 576, ..entry(0xd, 2, 256) },
            kvm_cpuid_entry2 { ebx: 2752, ..entry(0xd, 18, 8192) },
        ])
        .unwrap();
        let features = baseline(&mut table);
        assert_eq!(features.xcr0, 0xe7);
        assert_eq!(features.xsave_size, 832);
        assert_eq!(features.cr4, 1 << 16 | 1 << 20 | 1 << 21 | 1 << 11);
        let entries = table.as_slice();
        assert_eq!(entries[1].edx & (1 << 24), 0);
        assert_eq!(entries[4].eax, 0);
    }

    #[test]
    fn topology_names_every_cpu() {
        let table = CpuId::from_entries(&[entry(1, 0, 0), entry(0xb, 0, 0), entry(0xb, 1, 0)]).unwrap();
        let third = for_cpu(&table, 3, 6);
        assert_eq!(third.as_slice()[0].ebx >> 24, 3);
        assert_eq!(third.as_slice()[1].edx, 3);
        assert_eq!(third.as_slice()[2].eax, 3);
        assert_eq!(for_cpu(&table, 0, 1).as_slice()[2].eax, 0);
    }
}
