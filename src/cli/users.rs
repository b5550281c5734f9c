//! Flags of `user` and `token`: who may log in.

use clap::{Args, Subcommand};

use crate::config::Overrides;

#[derive(Debug, Args)]
pub struct UsersFileArgs {
    /// The file that the servers read [default: users.toml in the data folder]
    #[arg(long, value_name = "FILE")]
    pub users_file: Option<String>,
}

#[derive(Debug, Args)]
pub struct UserArgs {
    #[command(subcommand)]
    pub command: UserCommand,
}

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// A new user, or a new password and role of one; the password is read from stdin
    Add(UserAddArgs),
    /// Who may log in, and how
    List(UsersFileArgs),
    /// End every log-in, token and certificate of a user
    Revoke(UserRevokeArgs),
}

#[derive(Debug, Args)]
pub struct UserAddArgs {
    pub name: String,
    /// reader, admin, or one that the users file defines
    #[arg(long, default_value = "reader")]
    pub role: String,
    /// Tokens and certificates only
    #[arg(long)]
    pub no_password: bool,
    #[command(flatten)]
    pub file: UsersFileArgs,
}

#[derive(Debug, Args)]
pub struct UserRevokeArgs {
    pub name: String,
    #[command(flatten)]
    pub file: UsersFileArgs,
}

#[derive(Debug, Args)]
pub struct TokenArgs {
    #[command(subcommand)]
    pub command: TokenCommand,
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// A new token; it is shown this once
    Create(TokenCreateArgs),
    /// Ids, users and ends of the tokens
    List(UsersFileArgs),
    /// End a token by its id
    Revoke(TokenRevokeArgs),
}

#[derive(Debug, Args)]
pub struct TokenCreateArgs {
    pub user: String,
    /// Life of the token
    #[arg(long, default_value = "90d", value_name = "DURATION")]
    pub expires_in: String,
    #[command(flatten)]
    pub file: UsersFileArgs,
}

#[derive(Debug, Args)]
pub struct TokenRevokeArgs {
    pub id: String,
    #[command(flatten)]
    pub file: UsersFileArgs,
}

impl UserArgs {
    pub fn put(&self, over: &mut Overrides) {
        match &self.command {
            UserCommand::Add(args) => args.file.put(over),
            UserCommand::List(file) => file.put(over),
            UserCommand::Revoke(args) => args.file.put(over),
        }
    }
}

impl TokenArgs {
    pub fn put(&self, over: &mut Overrides) {
        match &self.command {
            TokenCommand::Create(args) => args.file.put(over),
            TokenCommand::List(file) => file.put(over),
            TokenCommand::Revoke(args) => args.file.put(over),
        }
    }
}

impl UsersFileArgs {
    fn put(&self, over: &mut Overrides) {
        over.flag("serve.users_file", "--users-file", self.users_file.clone());
    }
}
