//! `linux.seccomp` of the OCI runtime specification.

use super::SpecError;
use chitin_proto::control::{SeccompCompare, SeccompCondition, SeccompProfile, SeccompRule};
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator};

/// `EPERM`, which a refusal says when nothing else is asked for.
const EPERM: u32 = 1;

/// Converts a profile. Architectures are of no account: every call of a sandbox is one of x86-64.
///
/// # Errors
/// [`SpecError::Seccomp`] for what no sandbox does: listeners, and conditions on an argument that no call has.
pub fn seccomp(profile: &LinuxSeccomp) -> Result<SeccompProfile, SpecError> {
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let mut rules = Vec::new();
    for call in profile.syscalls().iter().flatten() {
        let conditions = call.args().iter().flatten().map(condition).collect::<Result<_, _>>()?;
        rules.push(SeccompRule {
            names: call.names().clone(),
            action: action(call.action(), call.errno_ret())?,
            conditions,
        });
    }
    Ok(SeccompProfile { default, rules })
}

fn refuse<T>(what: String) -> Result<T, SpecError> {
    Err(SpecError::Seccomp { what })
}

/// The answer of a filter that stands for an action (seccomp(2)).
fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<u32, SpecError> {
    use LinuxSeccompAction as A;
    let data = errno.unwrap_or(EPERM) & 0xffff;
    Ok(match action {
        A::ScmpActKill | A::ScmpActKillThread => 0,
        A::ScmpActKillProcess => 0x8000_0000,
        A::ScmpActTrap => 0x0003_0000,
        A::ScmpActErrno => 0x0005_0000 | data,
        A::ScmpActTrace => 0x7ff0_0000 | data,
        A::ScmpActLog => 0x7ffc_0000,
        A::ScmpActAllow => 0x7fff_0000,
        A::ScmpActNotify => return refuse("SCMP_ACT_NOTIFY: there are no agents for listeners".to_owned()),
    })
}

fn condition(from: &LinuxSeccompArg) -> Result<SeccompCondition, SpecError> {
    use LinuxSeccompOperator as O;
    let compare = match from.op() {
        O::ScmpCmpNe => SeccompCompare::NotEqual,
        O::ScmpCmpLt => SeccompCompare::Less,
        O::ScmpCmpLe => SeccompCompare::LessOrEqual,
        O::ScmpCmpEq => SeccompCompare::Equal,
        O::ScmpCmpGe => SeccompCompare::GreaterOrEqual,
        O::ScmpCmpGt => SeccompCompare::Greater,
        O::ScmpCmpMaskedEq => SeccompCompare::MaskedEqual,
    };
    let argument = u32::try_from(from.index()).ok().filter(|index| *index < 6);
    let Some(argument) = argument else { return refuse(format!("argument {} of a call", from.index())) };
    Ok(SeccompCondition { argument, compare, value: from.value(), value_two: from.value_two().unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> Result<SeccompProfile, String> {
        let profile: LinuxSeccomp = serde_json::from_str(json).map_err(|error| error.to_string())?;
        seccomp(&profile).map_err(|error| error.to_string())
    }

    #[test]
    fn actions_and_conditions() {
        let json = r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"], "syscalls": [
            {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["clone"], "action": "SCMP_ACT_ERRNO", "args":
                [{"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]}]}"#;
        let profile = parsed(json).unwrap();
        assert_eq!((profile.default, profile.rules.len()), (0x0005_0026, 2));
        assert_eq!(profile.rules[0].names, ["read", "write"]);
        assert_eq!((profile.rules[0].action, profile.rules[1].action), (0x7fff_0000, 0x0005_0001));
        let wanted = SeccompCondition {
            argument: 0,
            compare: SeccompCompare::MaskedEqual,
            value: 2_114_060_288,
            value_two: 0,
        };
        assert_eq!(profile.rules[1].conditions, [wanted]);
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        let unknown = parsed(r#"{"defaultAction": "SCMP_ACT_WINK"}"#).unwrap_err();
        assert!(unknown.contains("SCMP_ACT_WINK"), "{unknown}");
        let notify = parsed(r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#).unwrap_err();
        assert!(notify.contains("SCMP_ACT_NOTIFY"), "{notify}");
        let argument = parsed(
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_KILL",
            "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]}"#,
        );
        assert!(argument.unwrap_err().contains("argument 6"));
    }
}
