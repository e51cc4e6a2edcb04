//! A profile of `~/.aws/config` and `~/.aws/credentials`. In: the variables that name it and its
//! files. Out: settings in the client's names (region, endpoint, keys), or what the profile needs
//! that this program does not do. The format is that of the AWS tools: INI with one level below.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::credential_process::CredentialProcess;
use super::settings::{BadSetting, Setting, Variables, value_of};

type Section = BTreeMap<String, String>;

/// A profile, both files taken together.
#[derive(Debug)]
pub(super) struct Profile {
    name: String,
    /// What a person looks for it in.
    files: String,
    values: Section,
    /// Of the `services` section that it names.
    services: Section,
    /// `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS` says so.
    ignore_endpoints: bool,
}

/// What profiles ask for that this program does not do, and what that is.
const NOT_DONE: [(&str, &str); 7] = [
    ("sso_session", "signs in by SSO"),
    ("sso_start_url", "signs in by SSO"),
    ("login_session", "signs in by a browser"),
    ("mfa_serial", "takes a role with a one-time password"),
    ("source_profile", "takes a role by another profile"),
    ("credential_source", "takes a role by credentials of the machine"),
    ("role_arn", "takes a role"),
];

impl Profile {
    /// The profile that `AWS_PROFILE` names, or `default` if there is one. `optional`: others have
    /// credentials, and files that cannot be read are in nobody's way.
    pub(super) fn read(variables: &Variables, optional: bool) -> Result<Option<Self>, BadSetting> {
        let named = ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]
            .into_iter()
            .find_map(|variable| Some((variable, value_of(variables, variable)?.trim())));
        let home = value_of(variables, "HOME").or_else(|| value_of(variables, "USERPROFILE"));
        let file = |variable: &str, name: &str| match value_of(variables, variable) {
            Some(path) => Some(below_home(path, home)),
            None => home.map(|home| Path::new(home).join(".aws").join(name)),
        };
        let config = file("AWS_CONFIG_FILE", "config");
        let credentials = file("AWS_SHARED_CREDENTIALS_FILE", "credentials");
        let read = |path: &Option<PathBuf>| match path.as_deref().map(std::fs::read) {
            Some(Ok(bytes)) => Ok(sections(&String::from_utf8_lossy(&bytes))),
            Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound && named.is_some() => {
                let origin = path.as_deref().unwrap_or(Path::new("")).display().to_string();
                Err(BadSetting {
                    origin,
                    why: format!("cannot be read ({error}): check its permissions"),
                })
            }
            _ => Ok(BTreeMap::new()),
        };
        let (of_config, of_credentials) = (read(&config)?, read(&credentials)?);
        let paths = [config, credentials].into_iter().flatten();
        let files = paths.map(|path| path.display().to_string()).collect::<Vec<_>>().join(" and ");
        let name = named.map_or("default", |(_, name)| name).to_owned();
        let mut values = of_config.get(&format!("profile {name}")).cloned();
        if name == "default" {
            values = values.or_else(|| of_config.get("default").cloned());
        }
        let keys = of_credentials.get(&name).cloned();
        let found = values.is_some() || keys.is_some();
        if !found {
            let Some((variable, _)) = named else { return Ok(None) };
            let in_config = of_config.keys().filter_map(|section| section.strip_prefix("profile "));
            let mut names =
                in_config.chain(of_credentials.keys().map(String::as_str)).collect::<Vec<_>>();
            names.sort_unstable();
            names.dedup();
            let there = match names.is_empty() {
                true => "there is none".to_owned(),
                false => format!("there are {}", names.join(", ")),
            };
            return Err(BadSetting {
                origin: format!("{variable}={name}"),
                why: format!(
                    "no such profile in {files} ({there}): check the name, or unset {variable}"
                ),
            });
        }
        let mut values = values.unwrap_or_default();
        values.extend(keys.unwrap_or_default());
        let services = values.get("services").map(|services| format!("services {services}"));
        let services = services.and_then(|section| of_config.get(&section).cloned());
        let ignore = value_of(variables, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
        let profile = Profile {
            name,
            files,
            services: services.unwrap_or_default(),
            ignore_endpoints: ignore.is_some_and(|ignore| ignore.eq_ignore_ascii_case("true")),
            values,
        };
        tracing::debug!(
            "{} is used{}",
            profile.shown(),
            if optional { " for what variables do not say" } else { "" }
        );
        Ok(Some(profile))
    }

    /// The profile, for messages.
    pub(super) fn shown(&self) -> String {
        format!("profile {} in {}", self.name, self.files)
    }

    fn setting(&self, key: &str, of: &Section, name: &str) -> Option<Setting> {
        let value = of.get(name).filter(|value| !value.is_empty())?.clone();
        Some(Setting { key: key.to_owned(), value, origin: format!("{}: {name}", self.shown()) })
    }

    pub(super) fn region(&self) -> Option<Setting> {
        self.setting("aws_region", &self.values, "region")
    }

    /// The endpoint of S3, or of all services.
    pub(super) fn endpoint(&self) -> Option<Setting> {
        if self.ignore_endpoints {
            return None;
        }
        let of_s3 = [&self.services, &self.values]
            .into_iter()
            .find_map(|of| self.setting("aws_endpoint_url_s3", of, "s3.endpoint_url"));
        of_s3.or_else(|| self.setting("aws_endpoint_url", &self.values, "endpoint_url"))
    }

    /// The keys or the role of the profile, or the program that gives them.
    pub(super) fn credentials(
        &self,
    ) -> Result<(Vec<Setting>, Option<CredentialProcess>), BadSetting> {
        let of = |key: &str, name: &str| self.setting(key, &self.values, name);
        let has = |name: &str| self.values.get(name).is_some_and(|value| !value.is_empty());
        if let (Some(role), Some(token)) = (
            of("aws_role_arn", "role_arn"),
            of("aws_web_identity_token_file", "web_identity_token_file"),
        ) {
            let session = of("aws_role_session_name", "role_session_name");
            return Ok(([role, token].into_iter().chain(session).collect(), None));
        }
        let needs = |only_role: bool| {
            NOT_DONE.iter().find(|(name, _)| has(name) && (!only_role || name.starts_with("role")))
        };
        if needs(true).is_some() {
            // A role is what the rest is for; alone it needs some other keys.
            return Err(self.not_done(needs(false)));
        }
        if let Some(found) = NOT_DONE[..3].iter().find(|(name, _)| has(name)) {
            return Err(self.not_done(Some(found)));
        }
        let pair = ["aws_access_key_id", "aws_secret_access_key"];
        match pair.map(has) {
            [true, true] => {
                let token = of("aws_session_token", "aws_session_token");
                return Ok((
                    pair.iter().filter_map(|key| of(key, key)).chain(token).collect(),
                    None,
                ));
            }
            [false, false] => {}
            [id, _] => {
                let missing = pair[usize::from(id)];
                let why = format!("has no {missing} beside the other key: add it");
                return Err(BadSetting { origin: self.shown(), why });
            }
        }
        match of("", "credential_process") {
            Some(Setting { value, origin, .. }) => {
                Ok((Vec::new(), Some(CredentialProcess::new(&value, origin)?)))
            }
            None => Ok((Vec::new(), None)),
        }
    }

    fn not_done(&self, what: Option<&(&str, &str)>) -> BadSetting {
        let (key, what) = what.copied().unwrap_or(("role_arn", "takes a role"));
        let name = shlex::try_quote(&self.name).unwrap_or_default();
        let why = format!(
            "{what} ({key}), which this program does not do itself: run this first: eval \"$(aws \
             configure export-credentials --profile {name} --format env)\""
        );
        BadSetting { origin: self.shown(), why }
    }
}

fn below_home(path: &str, home: Option<&str>) -> PathBuf {
    match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => Path::new(home).join(rest),
        _ => PathBuf::from(path),
    }
}

/// The sections of a file by name. Keys are lower case; those one level below follow their parent
/// and a dot. Lines that are nothing of this are left out, as they may be another tool's.
fn sections(text: &str) -> BTreeMap<String, Section> {
    let mut sections = BTreeMap::<String, Section>::new();
    let (mut section, mut parent) = (None::<String>, None::<String>);
    for line in text.trim_start_matches('\u{FEFF}').lines() {
        let bare = line.trim();
        if bare.is_empty() || bare.starts_with(['#', ';']) {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            let name = rest.split_once(']').map(|(name, _)| name);
            section = name
                .map(|name| name.split_whitespace().collect::<Vec<_>>().join(" ").replace('"', ""));
            parent = None;
            if let Some(section) = &section {
                sections.entry(section.clone()).or_default();
            }
            continue;
        }
        let (Some(section), Some((key, value))) = (&section, bare.split_once('=')) else {
            continue;
        };
        let (key, value) = (key.trim().to_ascii_lowercase(), without_comment(value.trim()));
        let below = line.starts_with([' ', '\t']);
        let key = match (&parent, below) {
            (Some(parent), true) => format!("{parent}.{key}"),
            _ => key,
        };
        if !below {
            parent = value.is_empty().then(|| key.clone());
        }
        sections.entry(section.clone()).or_default().insert(key, value.to_owned());
    }
    sections
}

/// The value up to a comment, which has white space before it.
fn without_comment(value: &str) -> &str {
    let ends = [" #", " ;", "\t#", "\t;"].into_iter().filter_map(|start| value.find(start));
    value[..ends.min().unwrap_or(value.len())].trim_end()
}

#[cfg(test)]
mod tests {
    use super::super::BucketKind;
    use super::super::settings::Settings;
    use super::*;

    const CONFIG: &str = "\
# of a test
[default]
region = eu-west-1

[profile dev]
region=eu-central-1 ; near
endpoint_url = http://all:1
services = mine
credential_process = give 'me keys'

[services mine]
dynamodb =
  endpoint_url = http://other:2
s3 =
  endpoint_url = http://s3:3

[profile \"web one\"]
role_arn = arn:aws:iam::1:role/r
web_identity_token_file = /token
[profile sso]
sso_session = corp
[profile chain]
role_arn = arn:aws:iam::1:role/r
source_profile = dev
mfa_serial = arn:aws:iam::1:mfa/u
[profile instance]
role_arn = arn:aws:iam::1:role/r
credential_source = Ec2InstanceMetadata
";
    const CREDENTIALS: &str = "\
\u{FEFF}[keys]
aws_access_key_id = AKIA
AWS_SECRET_ACCESS_KEY = wJalr/XUtn=FEMI
aws_session_token = t0ken
region = us-west-2
[half]
aws_access_key_id = AKIA
";

    fn read(more: &[(&str, &str)]) -> Result<Settings, BadSetting> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("config", CONFIG), ("credentials", CREDENTIALS)] {
            std::fs::create_dir_all(folder.path().join(".aws")).unwrap();
            std::fs::write(folder.path().join(".aws").join(name), text).unwrap();
        }
        let home = [("HOME", folder.path().to_str().unwrap())];
        let all =
            home.iter().chain(more).map(|(name, value)| (name.to_string(), value.to_string()));
        Settings::read(BucketKind::S3, &all.collect())
    }

    fn values(settings: &Settings) -> Vec<(&str, &str)> {
        let list = settings.list.iter();
        list.map(|setting| (setting.key.as_str(), setting.value.as_str())).collect()
    }

    #[test]
    fn a_profile_gives_region_endpoint_and_keys() {
        let default = read(&[]).unwrap();
        assert_eq!(values(&default), [("aws_region", "eu-west-1")]);
        let dev = read(&[("AWS_PROFILE", "dev")]).unwrap();
        let expected = [("aws_region", "eu-central-1"), ("aws_endpoint_url_s3", "http://s3:3")];
        assert_eq!(values(&dev), expected);
        assert!(dev.process.is_some());
        let keys =
            read(&[("AWS_PROFILE", "keys"), ("AWS_SESSION_TOKEN", "of other keys")]).unwrap();
        let expected = [
            ("aws_region", "us-west-2"),
            ("aws_access_key_id", "AKIA"),
            ("aws_secret_access_key", "wJalr/XUtn=FEMI"),
            ("aws_session_token", "t0ken"),
        ];
        assert_eq!(values(&keys), expected);
        assert!(keys.credentials.starts_with("profile keys in "), "{}", keys.credentials);
        let web = read(&[("AWS_PROFILE", "web one")]).unwrap();
        let expected =
            [("aws_role_arn", "arn:aws:iam::1:role/r"), ("aws_web_identity_token_file", "/token")];
        assert_eq!(values(&web), expected);
    }

    #[test]
    fn variables_win() {
        let settings = read(&[
            ("AWS_PROFILE", "dev"),
            ("AWS_ENDPOINT_URL", "http://mine:9"),
            ("AWS_REGION", "x"),
            ("AWS_ACCESS_KEY_ID", "k"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ])
        .unwrap();
        assert_eq!(values(&settings)[0], ("aws_endpoint_url", "http://mine:9"));
        assert!(settings.process.is_none() && !settings.has(&["aws_endpoint_url_s3"]));
        assert!(settings.list.iter().all(|setting| setting.origin.starts_with("AWS_")));
        // Whoever brings keys may use the region of a profile that signs in otherwise.
        read(&[("AWS_PROFILE", "sso"), ("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s")])
            .unwrap();
        let ignored = [("AWS_PROFILE", "dev"), ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")];
        assert!(read(&ignored).unwrap().endpoint().is_none());
    }

    #[test]
    fn what_is_not_done_is_said_with_what_does_it() {
        let cases = [
            ("sso", "signs in by SSO (sso_session)"),
            ("chain", "takes a role with a one-time password (mfa_serial)"),
            ("instance", "takes a role by credentials of the machine (credential_source)"),
            ("half", "has no aws_secret_access_key"),
            ("nobody", "no such profile in "),
        ];
        for (name, said) in cases {
            let message = read(&[("AWS_PROFILE", name)]).err().unwrap().to_string();
            assert!(message.contains(said) && message.contains(name), "{message}");
            let offered = format!("aws configure export-credentials --profile {name} --format env");
            assert_eq!(message.contains(&offered), matches!(name, "sso" | "chain" | "instance"));
        }
        let unknown = read(&[("AWS_PROFILE", "nobody")]).err().unwrap().to_string();
        assert!(
            unknown.contains("there are chain, dev, half, instance, keys, sso, web one"),
            "{unknown}"
        );
    }
}
