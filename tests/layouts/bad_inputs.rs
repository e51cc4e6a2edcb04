//! Inputs that stop a run before it starts, each with the message that it deserves.

use super::*;

fn error(path: &Path, choice: LayoutChoice) -> String {
    let listing = match path.is_dir() {
        true => try_list(path, choice),
        false => {
            let options = ListOptions { layout: choice, ..ListOptions::default() };
            list(&Location::local(path), &options)
        }
    };
    listing.unwrap_err().to_string()
}

#[test]
fn a_missing_input_is_named() {
    let message = error(Path::new("/no/such/folder"), LayoutChoice::Auto);
    assert!(message.contains("/no/such/folder: no such file or folder"), "{message}");
}

#[test]
fn a_file_that_is_no_picture_is_refused() {
    let dir = tree(&["notes.txt"]);
    let message = error(&dir.path().join("notes.txt"), LayoutChoice::Auto);
    assert!(message.contains("no picture") && message.contains("png, jpg"), "{message}");
}

#[test]
fn a_folder_without_pictures_says_what_was_there_instead() {
    let dir = tree(&["a.gif", "b.gif", "c.txt"]);
    let message = error(dir.path(), LayoutChoice::Auto);
    assert!(message.contains("ignored 2 gif, 1 txt"), "{message}");
}

#[test]
fn a_layout_that_the_input_does_not_have_is_refused() {
    let dir = tree(&["nut/a.png"]);
    for (choice, place) in [(LayoutChoice::Mvtec, "test/<kind>"), (LayoutChoice::Visa, "Data")] {
        let message = error(dir.path(), choice);
        assert!(message.contains(place) && message.contains("--layout"), "{message}");
        let message = error(&dir.path().join("nut/a.png"), choice);
        assert!(message.contains("no image found"), "{message}");
    }
}

#[test]
fn a_folder_with_a_reserved_name_is_refused() {
    let message = error(tree(&["__all__/a.png"]).path(), LayoutChoice::Auto);
    assert!(message.contains("\"__all__\" is no category name"), "{message}");
}

#[cfg(unix)]
#[test]
fn a_loop_of_links_or_a_link_to_nothing_is_left_out_and_counted() {
    let dir = tree(&["nut/a.png"]);
    std::os::unix::fs::symlink(dir.path(), dir.path().join("nut/again")).unwrap();
    std::os::unix::fs::symlink("/no/such/disk", dir.path().join("archive")).unwrap();
    let listing = on_disk(dir.path()).unwrap();
    assert_eq!(listing.n_entries, 1);
    let expected = [("(broken link)".to_owned(), 1), ("(link loop)".to_owned(), 1)];
    assert_eq!(listing.ignored, expected.into());
}
