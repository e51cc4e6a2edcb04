//! Links to images where they lie. In: the URI that a run recorded of an image. Out: what a page may
//! link to, or nothing: only places of files and of buckets, never what a browser would run.

use super::fetch::archive_in;

/// What images are read from.
const SCHEMES: [&str; 6] = ["file", "s3", "gs", "az", "http", "https"];

/// The link to an image; one in an archive has that of the archive.
pub fn link_of(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once("://")?;
    let is_known = SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known));
    let is_plain = !rest.is_empty() && !uri.chars().any(|c| c.is_control() || c.is_whitespace());
    let file = archive_in(uri).map_or(uri, |(archive, _)| archive);
    (is_known && is_plain).then(|| file.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_places_of_images_are_linked_to() {
        let own = "file:///data/line%203/a.png";
        assert_eq!(link_of(own).as_deref(), Some(own));
        assert_eq!(link_of("s3://b/k/a.png").as_deref(), Some("s3://b/k/a.png"));
        assert_eq!(link_of("file:///d/a.tar/x/1.png").as_deref(), Some("file:///d/a.tar"));
        for bad in [
            "javascript:alert(1)",
            "javascript://%0aalert(1)",
            "data:text/html,x",
            "java\nscript://x",
            "file:///a\u{0}b",
            "file://",
            "a.png",
            "",
        ] {
            assert_eq!(link_of(bad), None, "{bad:?}");
        }
    }
}
