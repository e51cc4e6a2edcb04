//! A page that cannot be made.

/// Making the page of a run.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("--category {category}: the run has no such category")]
    NoCategory { category: String },
    #[error("--category is given more than {most} times: a page would be too large")]
    TooManyCategories { most: usize },
    #[error(
        "the manifest tells of {listed} images, {} scored and {} failed, the tables have {} and {}: \
         restore the output, or score again",
        said[0], said[1], found[0], found[1]
    )]
    Counts { listed: u64, said: [u64; 2], found: [u64; 2] },
    #[error("the page cannot be written ({why}): please report this")]
    Page { why: String },
}
