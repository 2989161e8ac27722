//! `--user NAME|UID[:GROUP|GID]`, looked up in the root file system as runc does.

use std::path::{Path, PathBuf};

/// Why a user cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// No such line.
    #[error("no entry {name:?} in {}", file.display())]
    Unknown {
        /// What was looked for.
        name: String,
        /// Where.
        file: PathBuf,
    },
    /// The file cannot be read.
    #[error("read {} to find {name:?}: {source}", file.display())]
    Read {
        /// What was looked for.
        name: String,
        /// Where.
        file: PathBuf,
        /// Operating system error.
        source: std::io::Error,
    },
}

/// Credentials of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub additional_gids: Vec<u32>,
    /// Home directory, when the user has an entry.
    pub home: Option<String>,
}

impl User {
    /// Looks a user up in the root file system at `rootfs`.
    ///
    /// # Errors
    /// [`UserError`] for a name (never for a number) that is not there.
    pub fn find(rootfs: &Path, text: &str) -> Result<Self, UserError> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let passwd = rootfs.join("etc/passwd");
        let entry = match user.parse::<u32>() {
            Ok(uid) => find(&passwd, user, |fields| fields.get(2) == Some(&user))
                .ok()
                .unwrap_or_else(|| vec![String::new(), String::new(), uid.to_string()]),
            Err(_) => find(&passwd, user, |fields| fields.first() == Some(&user))?,
        };
        let number = |index: usize| entry.get(index).and_then(|field| field.parse().ok());
        let mut found = Self {
            uid: number(2).unwrap_or(0),
            gid: number(3).unwrap_or(0),
            additional_gids: Vec::new(),
            home: entry.get(5).cloned(),
        };
        let groups = rootfs.join("etc/group");
        if let Some(group) = group {
            found.gid = match group.parse() {
                Ok(gid) => gid,
                Err(_) => find(&groups, group, |fields| fields.first() == Some(&group))?
                    .get(2)
                    .and_then(|field| field.parse().ok())
                    .unwrap_or(0),
            };
        } else if let Some(name) = entry.first().filter(|name| !name.is_empty()) {
            found.additional_gids = memberships(&groups, name);
        }
        Ok(found)
    }
}

fn find(file: &Path, name: &str, matches: impl Fn(&[&str]) -> bool) -> Result<Vec<String>, UserError> {
    let text = std::fs::read_to_string(file).map_err(|source| UserError::Read {
        name: name.to_owned(),
        file: file.to_owned(),
        source,
    })?;
    text.lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| matches(fields))
        .map(|fields| fields.into_iter().map(str::to_owned).collect())
        .ok_or_else(|| UserError::Unknown { name: name.to_owned(), file: file.to_owned() })
}

/// Groups that list the user as a member.
fn memberships(file: &Path, user: &str) -> Vec<u32> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .filter(|fields| fields.get(3).is_some_and(|members| members.split(',').any(|member| member == user)))
        .filter_map(|fields| fields.get(2)?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_groups() {
        let root = std::env::temp_dir().join(format!("chitin-user-{}", std::process::id()));
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nann:x:7:8::/home/ann:\n")
            .unwrap();
        std::fs::write(root.join("etc/group"), "wheel:x:10:ann,bob\nstaff:x:50:\n").unwrap();
        let ann = User { uid: 7, gid: 8, additional_gids: vec![10], home: Some("/home/ann".into()) };
        assert_eq!(User::find(&root, "ann").unwrap(), ann);
        assert_eq!(User::find(&root, "7").unwrap(), ann);
        assert_eq!(User::find(&root, "99").unwrap(), User { uid: 99, ..User::default() });
        let staff = User::find(&root, "ann:staff").unwrap();
        assert_eq!((staff.gid, staff.additional_gids), (50, vec![]));
        assert!(matches!(User::find(&root, "zoe"), Err(UserError::Unknown { .. })));
        std::fs::remove_dir_all(&root).unwrap();
    }
}
