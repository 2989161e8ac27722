//! `/proc/cpuinfo`, from what the CPU says of itself.

use crate::platform;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Names of feature bits as Linux writes them, an empty one where Linux has none: leaf 1, register edx.
const LEAF1_EDX: &str = "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - dts acpi mmx fxsr sse sse2 ss ht tm ia64 pbe";
/// Leaf 0x80000001, edx: what leaf 1 does not have.
const EXT_EDX: &str = "- - - - - - - - - - - syscall - - - - - - - mp nx - mmxext - - fxsr_opt pdpe1gb rdtscp - lm 3dnowext 3dnow";
/// Leaf 1, ecx.
const LEAF1_ECX: &str = "pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm - pcid dca sse4_1 sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave - avx f16c rdrand hypervisor";
/// Leaf 0x80000001, ecx.
const EXT_ECX: &str = "lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt - lwp fma4 tce - nodeid_msr - tbm topoext perfctr_core perfctr_nb - bpext ptsc perfctr_llc mwaitx - -";
/// Leaf 7, ebx.
const LEAF7_EBX: &str = "fsgsbase tsc_adjust - bmi1 hle avx2 - smep bmi2 erms invpcid rtm cqm - mpx rdt_a avx512f avx512dq rdseed adx smap avx512ifma - clflushopt clwb intel_pt avx512pf avx512er avx512cd sha_ni avx512bw avx512vl";
/// Leaf 7, ecx.
const LEAF7_ECX: &str = "- avx512vbmi umip pku ospke waitpkg avx512_vbmi2 - gfni vaes vpclmulqdq avx512_vnni avx512_bitalg tme avx512_vpopcntdq - la57 - - - - - rdpid - bus_lock_detect cldemote - movdiri movdir64b enqcmd - -";
/// Leaf 7, edx.
const LEAF7_EDX: &str = "- - avx512_4vnniw avx512_4fmaps fsrm - - - avx512_vp2intersect - md_clear - - - serialize - - - pconfig arch_lbr ibt - amx_bf16 avx512_fp16 amx_tile amx_int8 - - flush_l1d arch_capabilities - -";
/// Leaf 13, subleaf 1, eax.
const LEAF13_EAX: &str =
    "xsaveopt xsavec xgetbv1 xsaves - - - - - - - - - - - - - - - - - - - - - - - - - - - -";

fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    platform::get().cpuid(leaf, subleaf)
}

fn add_names(flags: &mut Vec<&'static str>, names: &'static str, register: u32) {
    let set = names.split(' ').enumerate().filter(|(bit, name)| *name != "-" && register & (1 << bit) != 0);
    flags.extend(set.map(|(_, name)| name));
}

fn flags(highest: u32, highest_extended: u32) -> Vec<&'static str> {
    let mut flags = Vec::new();
    let [_, _, ecx, edx] = cpuid(1, 0);
    let [_, _, ext_ecx, ext_edx] =
        if highest_extended >= 0x8000_0001 { cpuid(0x8000_0001, 0) } else { [0; 4] };
    add_names(&mut flags, LEAF1_EDX, edx);
    add_names(&mut flags, EXT_EDX, ext_edx);
    add_names(&mut flags, LEAF1_ECX, ecx);
    add_names(&mut flags, EXT_ECX, ext_ecx);
    if highest >= 7 {
        let [_, ebx, ecx, edx] = cpuid(7, 0);
        add_names(&mut flags, LEAF7_EBX, ebx);
        add_names(&mut flags, LEAF7_ECX, ecx);
        add_names(&mut flags, LEAF7_EDX, edx);
    }
    if highest >= 13 {
        let [eax, ..] = cpuid(13, 1);
        add_names(&mut flags, LEAF13_EAX, eax);
    }
    flags
}

/// Text in registers, up to the first null byte.
fn text(registers: &[u32]) -> String {
    let bytes: Vec<u8> = registers.iter().flat_map(|register| register.to_le_bytes()).collect();
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).trim().into()
}

/// `/proc/cpuinfo` of a machine with `cpus` CPUs, all alike.
pub(super) fn info(cpus: u32) -> String {
    let [highest, ebx, ecx, edx] = cpuid(0, 0);
    let [highest_extended, ..] = cpuid(0x8000_0000, 0);
    let vendor = text(&[ebx, edx, ecx]);
    let [signature, brand, ..] = cpuid(1, 0);
    let (base_family, extended) = (signature >> 8 & 0xf, signature >> 20 & 0xff);
    let family = if base_family == 15 { base_family + extended } else { base_family };
    let base_model = signature >> 4 & 0xf;
    let model =
        if matches!(base_family, 6 | 15) { base_model | (signature >> 12 & 0xf0) } else { base_model };
    let stepping = signature & 0xf;
    let named = if highest_extended >= 0x8000_0004 {
        let leaves = [0x8000_0002, 0x8000_0003, 0x8000_0004].map(|leaf| cpuid(leaf, 0));
        text(leaves.as_flattened())
    } else {
        String::new()
    };
    let name = if named.is_empty() { "Chitin virtual CPU" } else { named.as_str() };
    let [widths, ..] =
        if highest_extended >= 0x8000_0008 { cpuid(0x8000_0008, 0) } else { [0x3028, 0, 0, 0] };
    let line = brand >> 8 & 0xff;
    let clflush = if line == 0 { 64 } else { line * 8 };
    let khz = platform::get().clock_khz();
    let (mhz, fraction) = (khz / 1000, khz % 1000);
    let bogomips = khz / 500;
    let flags = flags(highest, highest_extended).join(" ");
    let mut out = String::new();
    for cpu in 0..cpus {
        out.push_str(&format!(
            "processor\t: {cpu}\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\nmodel name\t: {name}\n\
             stepping\t: {stepping}\nmicrocode\t: 0x1\ncpu MHz\t\t: {mhz}.{fraction:03}\ncache size\t: 0 KB\n\
             physical id\t: 0\nsiblings\t: {cpus}\ncore id\t\t: {cpu}\ncpu cores\t: {cpus}\napicid\t\t: {cpu}\n\
             initial apicid\t: {cpu}\nfpu\t\t: yes\nfpu_exception\t: yes\ncpuid level\t: {highest}\nwp\t\t: yes\n\
             flags\t\t: {flags}\nbugs\t\t:\nbogomips\t: {bogomips}.00\nclflush size\t: {clflush}\n\
             cache_alignment\t: 64\naddress sizes\t: {} bits physical, {} bits virtual\npower management:\n\n",
            widths & 0xff,
            widths >> 8 & 0xff,
        ));
    }
    out
}
