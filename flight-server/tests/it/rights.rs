//! What one user may see and do of another's statements.

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{ActionCancelQueryRequest, ActionCancelQueryResult, Any, ProstMessageExt};
use arrow_flight::{Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo};
use futures::TryStreamExt;
use prost::Message;
use ticklake_flight_server::UsersFile;
use tonic::Code;

use crate::fixture::*;
use crate::identity::{PASSWORD, by, logged_in, users, with_users};

const LONG: &str = "SELECT value, repeat('x', 100) FROM generate_series(1, 100000000)";

/// With alice and bob, who read, and root.
async fn of_three(lake: &TestLake) -> TestServer {
    let path = users(lake.dir.path(), "");
    UsersFile::open(&path)
        .unwrap()
        .add("bob", "reader", Some(PASSWORD))
        .unwrap();
    lake.serve(with_users(&path)).await
}

/// The three ways to stop a query.
#[derive(Debug, Clone, Copy)]
enum Way {
    FlightInfo,
    Query,
    ById,
}

const WAYS: [Way; 3] = [Way::FlightInfo, Way::Query, Way::ById];

/// Whether `user` may stop the query of `info` in this way.
async fn cancel(server: &TestServer, user: &str, way: Way, info: &FlightInfo) -> bool {
    let (name, body) = match way {
        Way::FlightInfo => {
            let body = CancelFlightInfoRequest {
                info: Some(info.clone()),
            };
            ("CancelFlightInfo", body.encode_to_vec())
        }
        Way::Query => {
            let body = ActionCancelQueryRequest {
                info: info.encode_to_vec().into(),
            };
            ("CancelQuery", body.as_any().encode_to_vec())
        }
        Way::ById => {
            let metadata: serde_json::Value = serde_json::from_slice(&info.app_metadata).unwrap();
            let id = metadata["query_id"].as_str().unwrap().to_owned();
            ("ticklake.CancelQuery", id.into_bytes())
        }
    };
    let action = Action {
        r#type: name.into(),
        body: body.into(),
    };
    let mut raw = FlightServiceClient::new(server.channel().await);
    let answer = match raw.do_action(by(user, action)).await {
        Ok(answer) => answer.into_inner().try_next().await.unwrap().unwrap(),
        Err(status) => {
            assert_eq!(status.code(), Code::NotFound, "{way:?}: {status:?}");
            return false;
        }
    };
    let status = match way {
        Way::FlightInfo => CancelFlightInfoResult::decode(answer.body).unwrap().status,
        Way::Query => {
            let any = Any::decode(answer.body).unwrap();
            any.unpack::<ActionCancelQueryResult>().unwrap().unwrap().result
        }
        Way::ById => CancelStatus::Cancelled as i32,
    };
    match CancelStatus::try_from(status).unwrap() {
        CancelStatus::Cancelled => true,
        CancelStatus::NotCancellable => false,
        other => panic!("{way:?}: {other:?}"),
    }
}

#[tokio::test]
async fn a_query_is_cancelled_by_its_user_or_an_admin_and_nobody_else() {
    let lake = TestLake::empty();
    let server = of_three(&lake).await;
    let mut alice = logged_in(&server, "alice").await;
    for (way, who) in WAYS.into_iter().flat_map(|way| [(way, "alice"), (way, "root")]) {
        let info = describe(&mut alice, LONG).await.unwrap();
        let mut stream = alice.do_get(ticket(&info)).await.unwrap();
        assert!(stream.try_next().await.unwrap().is_some());
        for way in WAYS {
            assert!(!cancel(&server, "bob", way, &info).await, "{way:?}");
        }
        assert!(stream.try_next().await.unwrap().is_some(), "it goes on");
        assert!(cancel(&server, who, way, &info).await, "{way:?} by {who}");
        let end = loop {
            match stream.try_next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a shortened result"),
                Err(error) => break status_of(error),
            }
        };
        assert_eq!(end.code(), Code::Cancelled, "{way:?} by {who}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_reader_sees_only_its_own_statements() {
    let lake = TestLake::empty();
    let server = of_three(&lake).await;
    let count = |user: &str| format!("SELECT count(*) FROM system.queries WHERE user_name = '{user}'");
    for user in ["alice", "bob"] {
        assert_eq!(number(&mut logged_in(&server, user).await, "SELECT 1").await, 1);
    }
    for (user, of_alice, of_bob) in [("alice", true, false), ("bob", false, true), ("root", true, true)] {
        let mut client = logged_in(&server, user).await;
        assert_eq!(number(&mut client, &count("alice")).await > 0, of_alice, "{user}");
        assert_eq!(number(&mut client, &count("bob")).await > 0, of_bob, "{user}");
    }
    server.stop().await;
}
