//! Loads from packets, and what programs may do.

use super::*;

fn ins(code: u16, jump_true: u8, jump_false: u8, k: u32) -> Instruction {
    Instruction { code, jump_true, jump_false, k }
}

const RET_A: Instruction = Instruction { code: code::RET_A, jump_true: 0, jump_false: 0, k: 0 };

fn run(program: &[Instruction], packet: &Packet<'_>) -> u32 {
    bpf::run(Program::new(program.to_vec()).unwrap().instructions(), packet)
}

#[test]
fn loads() {
    let bytes: Vec<u8> = (0..64).collect();
    let facts = Facts { protocol: 0x800, kind: 4, device: Some((1, 772)), mark: 9 };
    let packet = Packet { bytes: &bytes, link: Some(0), network: 14, data: 34, facts };
    let one = |code, k| run(&[ins(code, 0, 0, k), RET_A], &packet);
    assert_eq!(one(code::LD_ABS, 0), 0x2223_2425);
    assert_eq!(one(code::LD_ABS_H, 2), 0x2425);
    assert_eq!(one(code::LD_ABS_B, 29), 63);
    assert_eq!(one(code::LD_ABS_B, 30), 0, "beyond the end");
    assert_eq!(one(code::LD_ABS, 27), 0, "half beyond the end");
    assert_eq!(one(code::LD_LEN, 0), 30);
    assert_eq!(one(code::LD_ABS_B, LINK + 3), 3);
    assert_eq!(one(code::LD_ABS_B, NETWORK + 3), 17);
    assert_eq!(one(code::LD_ABS_H, ANCILLARY), 0x800);
    assert_eq!(one(code::LD_ABS_B, ANCILLARY + 4), 4);
    assert_eq!(one(code::LD_ABS, ANCILLARY + 8), 1);
    assert_eq!(one(code::LD_ABS, ANCILLARY + 28), 772);
    assert_eq!(one(code::LD_ABS, ANCILLARY + 20), 9);
    let indirect = |x, k| run(&[ins(code::LDX_IMM, 0, 0, x), ins(code::LD_IND_B, 0, 0, k), RET_A], &packet);
    assert_eq!(indirect(3, 4), 41);
    assert_eq!(indirect(8, 0u32.wrapping_sub(4)), 38);
    assert_eq!(indirect(0, 0u32.wrapping_sub(4)), 0, "before the start");
    let header = [ins(code::LDX_MSH, 0, 0, 0), ins(code::TXA, 0, 0, 0), RET_A];
    assert_eq!(run(&header, &packet), 8);
    assert_eq!(run(&[ins(code::LD_IMM, 0, 0, 17), ins(code::MOD_K, 0, 0, 5), RET_A], &packet), 2);
    assert_eq!(run(&[ins(code::LD_IMM, 0, 0, 17), ins(code::MOD_X, 0, 0, 0), RET_A], &packet), 0);
    let nowhere = Packet::plain(&bytes);
    assert_eq!(run(&[ins(code::LD_ABS, 0, 0, LINK), RET_A], &nowhere), 0);
    assert_eq!(run(&[ins(code::LD_ABS, 0, 0, ANCILLARY + 8), ins(code::RET_K, 0, 0, 5)], &nowhere), 0);
}

#[test]
fn checks() {
    let ret = ins(code::RET_K, 0, 0, 1);
    for bad in [
        alloc::vec![],
        alloc::vec![ins(code::LD_IMM, 0, 0, 0)],
        alloc::vec![ins(code::LD_ABS, 0, 0, ANCILLARY + 1), ret],
        alloc::vec![ins(code::LD_ABS, 0, 0, ANCILLARY + 64), ret],
        alloc::vec![ins(code::MOD_K, 0, 0, 0), ret],
        alloc::vec![ins(0x0e, 0, 0, 0)],
        alloc::vec![ins(code::LD_ABS | 0x18, 0, 0, 0), ret],
    ] {
        assert_eq!(Program::new(bad.clone()).map(drop), Err(Errno::EINVAL), "{bad:?}");
    }
    assert_eq!(Program::new(alloc::vec![ret; 4096]).map(drop), Err(Errno::ENOMEM));
    assert!(Program::new(alloc::vec![ins(code::LD_ABS, 0, 0, 1 << 30), ret]).is_ok());
}

#[test]
fn attributes() {
    let bytes: Vec<u8> = [
        &8u16.to_ne_bytes()[..],
        &1u16.to_ne_bytes(),
        &[0; 4],
        &12u16.to_ne_bytes(),
        &2u16.to_ne_bytes(),
        &8u16.to_ne_bytes(),
        &7u16.to_ne_bytes(),
        &[0; 4],
    ]
    .concat();
    let packet = Packet::plain(&bytes);
    let find = |at, kind, what| {
        let program = [
            ins(code::LD_IMM, 0, 0, at),
            ins(code::LDX_IMM, 0, 0, kind),
            ins(code::LD_ABS, 0, 0, ANCILLARY + what),
            RET_A,
        ];
        run(&program, &packet)
    };
    assert_eq!(find(0, 2, 12), 8);
    assert_eq!(find(0, 5, 12), 0);
    assert_eq!(find(8, 7, 16), 12);
}

#[test]
fn slots() {
    let slot = Slot::default();
    assert_eq!(slot.set(None), Err(Errno::ENOENT));
    slot.set(Some(Program::new(alloc::vec![ins(code::RET_K, 0, 0, 3)]).unwrap())).unwrap();
    assert_eq!(slot.judge(&Packet::plain(&[1; 8])), Some(3));
    slot.lock(true).unwrap();
    assert_eq!(slot.lock(false), Err(Errno::EPERM));
    assert_eq!(slot.set(None), Err(Errno::EPERM));
    assert!(slot.child().is_set() && slot.child().is_locked());
}
