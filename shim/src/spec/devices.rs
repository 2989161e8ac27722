//! Block devices of `linux.devices` of the OCI runtime specification: what Kubernetes calls raw block volumes.

use super::{SpecError, absolute};
use crate::block::{BlockSource, Caching, PlannedBlock};
use chitin_proto::vmm::Access;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType, Spec};

/// Permission bits of a device that names none, as runc has them.
const DEFAULT_MODE: u32 = 0o666;

/// What rules say of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Nothing allows it, or nothing that names it.
    Silent,
    /// It may be read, or written too.
    Allows(Access),
}

/// The block devices that a specification lists and its device rules allow by number. A container that is allowed every
/// device there is (a privileged one) does not get the host's disks.
///
/// # Errors
/// [`SpecError::NotAbsolute`], [`SpecError::NotUtf8`].
pub(super) fn plan(spec: &Spec) -> Result<Vec<PlannedBlock>, SpecError> {
    let Some(linux) = spec.linux() else { return Ok(Vec::new()) };
    let rules =
        linux.resources().as_ref().and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
    let mut planned = Vec::new();
    for device in linux.devices().iter().flatten().filter(|device| device.typ() == LinuxDeviceType::B) {
        let Rule::Allows(access) = rule(rules, device.major(), device.minor()) else { continue };
        let (Ok(major), Ok(minor)) = (u32::try_from(device.major()), u32::try_from(device.minor())) else {
            continue;
        };
        planned.push(PlannedBlock {
            source: BlockSource::Number(major, minor),
            access,
            caching: Caching::Host,
            path: absolute("device path", device.path())?,
            mode: device.file_mode().unwrap_or(DEFAULT_MODE) & 0o7777,
            uid: device.uid().unwrap_or(0),
            gid: device.gid().unwrap_or(0),
        });
    }
    Ok(planned)
}

/// What the last rules that name a block device say; without any rule it may be used.
fn rule(rules: &[LinuxDeviceCgroup], major: i64, minor: i64) -> Rule {
    if rules.is_empty() {
        return Rule::Allows(Access::ReadWrite);
    }
    let (mut reads, mut writes) = (false, false);
    for rule in rules {
        let is_any = |number: Option<i64>| number.is_none_or(|number| number < 0);
        let is_kind = matches!(rule.typ(), None | Some(LinuxDeviceType::A | LinuxDeviceType::B));
        let names = |rule: Option<i64>, own: i64| is_any(rule) || rule == Some(own);
        if !is_kind || !names(rule.major(), major) || !names(rule.minor(), minor) {
            continue;
        }
        if rule.allow() && is_any(rule.major()) {
            continue;
        }
        let of = |letter| rule.access().as_deref().is_none_or(|access| access.contains(letter));
        if of('r') {
            reads = rule.allow();
        }
        if of('w') {
            writes = rule.allow();
        }
    }
    match (reads, writes) {
        (_, true) => Rule::Allows(Access::ReadWrite),
        (true, false) => Rule::Allows(Access::ReadOnly),
        (false, false) => Rule::Silent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(rules: &str) -> Vec<PlannedBlock> {
        let text = format!(
            r#"{{"ociVersion": "1.0.2", "linux": {{
                "devices": [
                    {{"path": "/dev/xvda", "type": "b", "major": 7, "minor": 3, "fileMode": 432, "gid": 6}},
                    {{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}}
                ],
                "resources": {{"devices": [{rules}]}}
            }}}}"#
        );
        plan(&serde_json::from_str(&text).unwrap()).unwrap()
    }

    #[test]
    fn rules_decide() {
        const NONE: &str = r#"{"allow": false, "access": "rwm"}"#;
        let found = planned(&format!(
            r#"{NONE}, {{"allow": true, "type": "b", "major": 7, "minor": 3, "access": "rwm"}}"#
        ));
        let [device] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(device.source, BlockSource::Number(7, 3));
        assert_eq!((device.access, device.path.as_str()), (Access::ReadWrite, "/dev/xvda"));
        assert_eq!((device.mode, device.uid, device.gid), (0o660, 0, 6));
        let found = planned(&format!(
            r#"{NONE}, {{"allow": true, "type": "b", "major": 7, "minor": 3, "access": "rm"}}"#
        ));
        assert_eq!(found.first().map(|device| device.access), Some(Access::ReadOnly));
        assert_eq!(planned(NONE), []);
        assert_eq!(planned("").len(), 1);
        let other =
            format!(r#"{NONE}, {{"allow": true, "type": "b", "major": 7, "minor": 4, "access": "rwm"}}"#);
        assert_eq!(planned(&other), []);
        let privileged = r#"{"allow": true, "access": "rwm"}"#;
        assert_eq!(planned(privileged), []);
    }
}
