"""The author of a message that somebody wants to change."""

from server.domain.identity import Action, Author, Identity, UserId, authorize_change
from server.domain.messages import Message, MessageId, Tombstone, author_digest


def author_of(identity: Identity, id: MessageId, message: Message | Tombstone | None) -> UserId | None:
    """Return the message's author; of a deleted message, whose author is only known by a digest, if it is this user."""
    match message:
        case Message():
            return message.author.id
        case Tombstone() if message.author == author_digest(id, identity.user):
            return identity.user
        case _:
            return None


def authorize_edit(identity: Identity, message: Message) -> None:
    """Raise `PermissionDenied` unless the identity may edit the message."""
    authorize_change(identity, message.author.id, Action.EDIT_OTHERS, message.channel)


def moderator(identity: Identity, message: Message) -> Author | None:
    """Return the user that changes the message, if that is not its author."""
    return None if identity.user == message.author.id else identity.author
