//! Where the tests of this folder put their lakes.

use std::collections::BTreeMap;

use ticklake_sql::{Clock, Lake, LakeOptions, Storage};

#[derive(Debug, Clone, Copy)]
pub enum Place {
    S3,
    Azure,
}

/// Each test goes through all of them.
pub const PLACES: [Place; 2] = [Place::S3, Place::Azure];

impl Place {
    /// The address of a bucket, or of what the store has in its place.
    pub fn bucket(self, name: &str) -> String {
        match self {
            Self::S3 => format!("s3://{name}"),
            Self::Azure => format!("az://{name}"),
        }
    }

    pub fn storage(self) -> Storage {
        let server = |variable: &str| std::env::var(variable).unwrap_or_else(|_| panic!("{variable} names no server"));
        let keys = match self {
            Self::S3 => vec![
                ("aws_endpoint", server("TICKLAKE_TEST_S3_ENDPOINT")),
                ("aws_access_key_id", "ticklake".to_owned()),
                ("aws_secret_access_key", "ticklake-secret".to_owned()),
                ("aws_region", "us-east-1".to_owned()),
                ("aws_allow_http", "true".to_owned()),
            ],
            Self::Azure => {
                // The client reads it by itself.
                server("AZURITE_BLOB_STORAGE_URL");
                vec![("azure_storage_use_emulator", "true".to_owned())]
            }
        };
        let keys = keys.into_iter().map(|(key, value)| (key.to_owned(), value));
        keys.collect::<BTreeMap<_, _>>().into()
    }

    pub fn open(self, uri: &str, storage: Storage) -> Lake {
        let options = LakeOptions {
            storage,
            ..Default::default()
        };
        Lake::open(uri, options, Clock::system()).unwrap()
    }

    /// A lake at a prefix that no other test uses.
    pub fn lake(self, name: &str) -> Lake {
        println!("{name} on {self:?}");
        let bucket = self.bucket("ticklake");
        self.open(&format!("{bucket}/sql-{name}-{}", uuid::Uuid::new_v4()), self.storage())
    }
}
