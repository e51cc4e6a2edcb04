//! Pages for browsers: a bucket tells what a file is, and one that says nothing is downloaded.

use bytes::Bytes;
use object_store::{Attribute, Attributes, PutOptions, PutPayload};

use super::Store;
use crate::error::{StoreAction, StoreError};

impl Store {
    /// Writes an HTML page in UTF-8, replacing the one that is there.
    ///
    /// # Errors
    /// If the place cannot be written.
    pub fn put_page(&self, path: &str, html: impl Into<Bytes>) -> Result<(), StoreError> {
        if self.folder.is_some() {
            return self.put(path, html);
        }
        let payload = PutPayload::from(html.into());
        let location = self.location(path, StoreAction::Write)?;
        let kind = (Attribute::ContentType, "text/html; charset=utf-8");
        let options =
            PutOptions { attributes: Attributes::from_iter([kind]), ..Default::default() };
        let put = || self.inner.put_opts(&location, payload.clone(), options.clone());
        self.wait(self.tried(put)).map(drop).map_err(|e| self.failed(path, StoreAction::Write, e))
    }
}
