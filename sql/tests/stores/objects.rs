//! Objects: in parts, many at once, and counted as the store bills them.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart};
use ticklake_sql::data_file::{self, FileOptions};
use ticklake_sql::{RequestKind, Storage, TableName};

use crate::places::PLACES;
use crate::tables::row;

const PART_BYTES: usize = 5 << 20;

#[tokio::test]
async fn a_file_in_parts_is_the_file() {
    for place in PLACES {
        let lake = place.lake("parts");
        let store = lake.object_store();
        let path = Path::from("in-parts");
        let bytes: Vec<u8> = (0..2 * PART_BYTES as u32 + 77).map(|n| (n ^ (n >> 11)) as u8).collect();
        let mut upload = WriteMultipart::new_with_chunk_size(store.put_multipart(&path).await.unwrap(), PART_BYTES);
        upload.put(bytes.clone().into());
        upload.finish().await.unwrap();
        let read = store.get(&path).await.unwrap().bytes().await.unwrap();
        assert!(read == bytes, "{} bytes became {}", bytes.len(), read.len());
        // Begin, three parts, end.
        let total = lake.requests().unwrap().total();
        assert_eq!(total[RequestKind::Multipart as usize], (RequestKind::Multipart, 5));

        // One that is given up leaves nothing to be read.
        let torn = Path::from("torn");
        let mut upload = store.put_multipart(&torn).await.unwrap();
        upload.put_part(vec![1; PART_BYTES].into()).await.unwrap();
        upload.abort().await.unwrap();
        assert!(store.get(&torn).await.is_err());
    }
}

/// What is larger than the setting goes up in parts, and only that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_files_go_up_in_parts_above_the_size_that_is_set() {
    for place in PLACES {
        for (multipart_bytes, in_parts) in [(0, true), (1 << 20, false)] {
            let storage = Storage {
                multipart_bytes,
                part_bytes: PART_BYTES,
                ..place.storage()
            };
            let uri = format!("{}/sql-size-{}", place.bucket("ticklake"), uuid::Uuid::new_v4());
            let lake = place.open(&uri, storage);
            let table = lake.create_table(&TableName::bronze_dead_letters()).await.unwrap();
            let date = BTreeMap::from([("ingest_date".to_owned(), "2026-01-01".to_owned())]);
            let rows = vec![row(&table, 0, 0)];
            let add = data_file::write(&table, date, rows, FileOptions::default())
                .await
                .unwrap();
            let store = table.log_store().object_store(None);
            let path = Path::parse(&add.path).unwrap();
            assert_eq!(store.head(&path).await.unwrap().size as i64, add.size);
            let multipart = lake.requests().unwrap().total()[RequestKind::Multipart as usize].1;
            assert_eq!(multipart, if in_parts { 3 } else { 0 }, "{place:?}");
        }
    }
}

/// More than one request of any store takes.
#[tokio::test]
async fn many_objects_are_listed_and_deleted() {
    const OBJECTS: usize = 1_100;
    for place in PLACES {
        let lake = place.lake("many");
        let store = lake.object_store();
        let path = |number: usize| Path::from(format!("folder {}/a=b%20{number}", number % 2));
        stream::iter(0..OBJECTS)
            .map(|number| {
                let store = store.clone();
                async move { store.put(&path(number), "x".into()).await }
            })
            .buffer_unordered(16)
            .try_for_each(|_| async { Ok(()) })
            .await
            .unwrap();
        let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
        assert_eq!(listed.len(), OBJECTS, "{place:?}");
        let folders = store.list_with_delimiter(None).await.unwrap();
        assert_eq!((folders.common_prefixes.len(), folders.objects.len()), (2, 0));

        // One that is not there is no failure of the others.
        let paths: Vec<_> = (0..=OBJECTS).map(|number| Ok(path(number))).collect();
        let deleted: Vec<_> = store.delete_stream(stream::iter(paths).boxed()).collect().await;
        let failed: Vec<_> = deleted.into_iter().filter_map(Result::err).collect();
        let is_absence = |error: &object_store::Error| matches!(error, object_store::Error::NotFound { .. });
        assert!(
            failed.iter().all(is_absence) && failed.len() < 2,
            "{place:?}: {failed:?}"
        );
        let left: Vec<_> = store.list(None).try_collect().await.unwrap();
        assert!(left.is_empty(), "{place:?}: {} are left", left.len());
    }
}
