from django.apps import AppConfig


class DirectMsgConfig(AppConfig):
    name = "directmsg"
    verbose_name = "Direct mail"

    def ready(self) -> None:
        from healthvault.outbox import outcomes

        outcomes.register("parcel", _tell_parcel)
        outcomes.register("pickup_find", _tell_found)


def _tell_parcel(related_id: str, state: str, code: str) -> None:
    # Imported when it is needed: commands that only read files start without this app's machinery.
    from . import parcels

    parcels.on_notification(related_id, state, code)


def _tell_found(related_id: str, state: str, code: str) -> None:
    from . import find

    find.on_notification(related_id, state, code)
