//! The filter that a container's specification asks for (`linux.seccomp` of the OCI runtime specification), as runc makes it
//! with libseccomp.

use super::ARCH;
use super::bpf::Instruction;
use crate::abi::Errno;
use crate::syscall::names::NAMES;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use chitin_proto::control::{SeccompCompare, SeccompCondition, SeccompProfile, SeccompRule};

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const EQUAL: u16 = 0x15;
const GREATER: u16 = 0x25;
const NOT_LESS: u16 = 0x35;
const RETURN: u16 = 0x06;

const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

const KILL_THREAD: u32 = 0;
const ALLOW: u32 = 0x7fff_0000;
const LOG: u32 = 0x7ffc_0000;
/// `SECCOMP_RET_ERRNO` with `ENOSYS`.
const ABSENT: u32 = 0x0005_0000 | 38;
/// First number of the calls of x32.
const X32: u32 = 0x4000_0000;

/// Conditions of a rule, at most: there are six arguments.
const CONDITIONS_MAX: usize = 6;
/// Rules of one call, at most.
const RULES_MAX: usize = 32;

/// Where a comparison goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    /// The next instruction.
    Next,
    /// The condition holds.
    Holds,
    /// The rule does not fit.
    Fails,
}

const fn plain(code: u16, k: u32) -> Instruction {
    Instruction { code, jump_true: 0, jump_false: 0, k }
}

/// What the rules say of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Call {
    /// Whatever its arguments are.
    always: Option<u32>,
    /// Conditions, all of which must hold, and what follows.
    rules: Vec<(Vec<SeccompCondition>, u32)>,
}

/// Makes the program.
///
/// # Errors
/// `EINVAL` for a condition on an argument that no call has, and too many of them.
pub fn compile(profile: &SeccompProfile) -> Result<Vec<Instruction>, Errno> {
    let mut calls: BTreeMap<u32, Call> = BTreeMap::new();
    let mut last = None;
    for rule in &profile.rules {
        // Calls that nobody knows are left out, as by runc.
        let known = rule.names.iter().filter_map(|name| NAMES.iter().position(|known| known == name));
        for number in known.filter_map(|number| u32::try_from(number).ok()) {
            last = last.max(Some(number));
            if rule.action != profile.default {
                add(calls.entry(number).or_default(), rule)?;
            }
        }
    }
    let mut program = alloc::vec![
        plain(LOAD, ARCHITECTURE),
        Instruction { code: EQUAL, jump_true: 1, jump_false: 0, k: ARCH },
        plain(RETURN, KILL_THREAD),
        plain(LOAD, NUMBER),
        Instruction { code: NOT_LESS, jump_true: 0, jump_false: 1, k: X32 },
        plain(RETURN, ABSENT),
    ];
    // Calls that are newer than the profile are absent rather than forbidden, so that programs go on without them.
    if let Some(last) = last.filter(|_| !matches!(profile.default, ALLOW | LOG)) {
        program.push(Instruction { code: GREATER, jump_true: 0, jump_false: 1, k: last });
        program.push(plain(RETURN, ABSENT));
    }
    let other = Call { always: Some(profile.default), rules: Vec::new() };
    let mut number = 0;
    let end = last.map_or(0, |last| last + 1);
    while number < end {
        let call = calls.get(&number).unwrap_or(&other);
        let mut until = number;
        while until + 1 < end && calls.get(&(until + 1)).unwrap_or(&other) == call {
            until += 1;
        }
        let body = body(call, profile.default);
        let len = u32::try_from(body.len()).map_err(|_| Errno::EINVAL)?;
        program.push(Instruction { code: GREATER, jump_true: 0, jump_false: 1, k: until });
        program.push(plain(JUMP, len));
        program.extend(body);
        number = until + 1;
    }
    program.push(plain(RETURN, profile.default));
    Ok(program)
}

fn add(call: &mut Call, rule: &SeccompRule) -> Result<(), Errno> {
    if rule.conditions.iter().any(|condition| condition.argument > 5) {
        return Err(Errno::EINVAL);
    }
    if rule.conditions.is_empty() {
        call.always.get_or_insert(rule.action);
        return Ok(());
    }
    let repeats = rule.conditions.iter().enumerate().any(|(at, condition)| {
        rule.conditions.iter().take(at).any(|earlier| earlier.argument == condition.argument)
    });
    if repeats {
        // Two conditions on one argument: each is a rule of its own, as runc has it.
        call.rules.extend(rule.conditions.iter().map(|condition| (alloc::vec![*condition], rule.action)));
    } else {
        call.rules.push((rule.conditions.clone(), rule.action));
    }
    if call.rules.len() > RULES_MAX || rule.conditions.len() > CONDITIONS_MAX {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

fn body(call: &Call, default: u32) -> Vec<Instruction> {
    if let Some(action) = call.always {
        return alloc::vec![plain(RETURN, action)];
    }
    let mut body = Vec::new();
    for (conditions, action) in &call.rules {
        body.extend(rule(conditions, *action));
    }
    body.push(plain(RETURN, default));
    body
}

fn rule(conditions: &[SeccompCondition], action: u32) -> Vec<Instruction> {
    let parts: Vec<Vec<(Instruction, To, To)>> = conditions.iter().map(condition).collect();
    let mut left: usize = parts.iter().map(Vec::len).sum();
    let mut program = Vec::with_capacity(left + 1);
    for part in parts {
        let len = part.len();
        for (at, (instruction, yes, no)) in part.into_iter().enumerate() {
            left -= 1;
            let distance = |to: To| match to {
                To::Next => 0,
                To::Holds => len - at - 1,
                // Beyond the return at the end.
                To::Fails => left + 1,
            };
            let jump = |to: To| u8::try_from(distance(to)).unwrap_or(u8::MAX);
            let (jump_true, jump_false) =
                if instruction.code & 7 == 5 { (jump(yes), jump(no)) } else { (0, 0) };
            program.push(Instruction { jump_true, jump_false, ..instruction });
        }
    }
    program.push(plain(RETURN, action));
    program
}

/// The halves of a number: high and low.
fn halves(value: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = value.to_be_bytes();
    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
}

fn condition(condition: &SeccompCondition) -> Vec<(Instruction, To, To)> {
    use To::{Fails, Holds, Next};
    let low = ARGUMENTS + 8 * condition.argument;
    let load = |at: u32| (plain(LOAD, at), Next, Next);
    let test = |code: u16, k: u32, yes: To, no: To| (plain(code, k), yes, no);
    let (value, other) = (halves(condition.value), halves(condition.value_two));
    match condition.compare {
        SeccompCompare::Equal => alloc::vec![
            load(low + 4),
            test(EQUAL, value.0, Next, Fails),
            load(low),
            test(EQUAL, value.1, Holds, Fails),
        ],
        SeccompCompare::NotEqual => alloc::vec![
            load(low + 4),
            test(EQUAL, value.0, Next, Holds),
            load(low),
            test(EQUAL, value.1, Fails, Holds),
        ],
        SeccompCompare::MaskedEqual => alloc::vec![
            load(low + 4),
            (plain(AND, value.0), Next, Next),
            test(EQUAL, other.0, Next, Fails),
            load(low),
            (plain(AND, value.1), Next, Next),
            test(EQUAL, other.1, Holds, Fails),
        ],
        SeccompCompare::Greater | SeccompCompare::GreaterOrEqual => {
            let last = if condition.compare == SeccompCompare::Greater { GREATER } else { NOT_LESS };
            alloc::vec![
                load(low + 4),
                test(GREATER, value.0, Holds, Next),
                test(EQUAL, value.0, Next, Fails),
                load(low),
                test(last, value.1, Holds, Fails),
            ]
        }
        SeccompCompare::Less | SeccompCompare::LessOrEqual => {
            let last = if condition.compare == SeccompCompare::Less { NOT_LESS } else { GREATER };
            alloc::vec![
                load(low + 4),
                test(GREATER, value.0, Fails, Next),
                test(EQUAL, value.0, Next, Holds),
                load(low),
                test(last, value.1, Fails, Holds),
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bpf::{Data, Program};
    use super::*;
    use std::string::ToString;
    use std::vec;

    const REFUSE: u32 = 0x0005_0001;

    fn rule(names: &[&str], action: u32, conditions: Vec<SeccompCondition>) -> SeccompRule {
        SeccompRule { names: names.iter().map(ToString::to_string).collect(), action, conditions }
    }

    fn when(compare: SeccompCompare, value: u64, value_two: u64) -> SeccompCondition {
        SeccompCondition { argument: 1, compare, value, value_two }
    }

    fn answer(profile: &SeccompProfile, number: i32, argument: u64) -> u32 {
        let program = Program::new(compile(profile).unwrap()).unwrap();
        program.run(&Data { number, arch: ARCH, rip: 0, arguments: [9, argument, 9, 9, 9, 9] })
    }

    #[test]
    fn names_and_defaults() {
        let profile = SeccompProfile {
            default: REFUSE,
            rules: vec![
                rule(&["read", "write", "getpid", "nonsense"], ALLOW, vec![]),
                rule(&["clone3"], ABSENT, vec![]),
            ],
        };
        for (number, wanted) in [
            (0, ALLOW),
            (1, ALLOW),
            (2, REFUSE),
            (39, ALLOW),
            (40, REFUSE),
            (435, ABSENT),
            (436, ABSENT),
            (-1, ABSENT),
        ] {
            assert_eq!(answer(&profile, number, 0), wanted, "{number}");
        }
        let foreign = Data { number: 0, arch: 0x4000_0003, ..Data::default() };
        assert_eq!(Program::new(compile(&profile).unwrap()).unwrap().run(&foreign), KILL_THREAD);
        let open = SeccompProfile { default: ALLOW, rules: vec![rule(&["read"], REFUSE, vec![])] };
        assert_eq!([0, 1, 400].map(|number| answer(&open, number, 0)), [REFUSE, ALLOW, ALLOW]);
        let empty = SeccompProfile { default: REFUSE, rules: vec![] };
        assert_eq!(answer(&empty, 0, 0), REFUSE);
    }

    #[test]
    fn conditions() {
        use SeccompCompare as C;
        let big = 5 << 32 | 7;
        let around = [big - 1, big, big + 1, 4 << 32 | 9, 6 << 32];
        for (compare, wanted) in [
            (C::Equal, [false, true, false, false, false]),
            (C::NotEqual, [true, false, true, true, true]),
            (C::Less, [true, false, false, true, false]),
            (C::LessOrEqual, [true, true, false, true, false]),
            (C::Greater, [false, false, true, false, true]),
            (C::GreaterOrEqual, [false, true, true, false, true]),
        ] {
            let rules = vec![rule(&["getpid"], ALLOW, vec![when(compare, big, 0)])];
            let profile = SeccompProfile { default: REFUSE, rules };
            assert_eq!(around.map(|value| answer(&profile, 39, value) == ALLOW), wanted, "{compare:?}");
        }
        let masked = vec![rule(&["getpid"], ALLOW, vec![when(C::MaskedEqual, 0xf0, 0x30)])];
        let profile = SeccompProfile { default: REFUSE, rules: masked };
        assert_eq!(
            [0x3f, 0x130, 0x40].map(|value| answer(&profile, 39, value) == ALLOW),
            [true, true, false]
        );
        // One argument twice is one or the other; different arguments are both.
        let either = vec![rule(&["getpid"], ALLOW, vec![when(C::Equal, 1, 0), when(C::Equal, 2, 0)])];
        let profile = SeccompProfile { default: REFUSE, rules: either };
        assert_eq!([1, 2, 3].map(|value| answer(&profile, 39, value) == ALLOW), [true, true, false]);
        let other = SeccompCondition { argument: 0, ..when(C::Equal, 8, 0) };
        let both = vec![rule(&["getpid"], ALLOW, vec![when(C::Equal, 1, 0), other])];
        assert_eq!(answer(&SeccompProfile { default: REFUSE, rules: both }, 39, 1), REFUSE);
        let wrong = SeccompCondition { argument: 6, ..other };
        let profile = SeccompProfile { default: REFUSE, rules: vec![rule(&["getpid"], ALLOW, vec![wrong])] };
        assert_eq!(compile(&profile), Err(Errno::EINVAL));
    }
}
