from calibrant.allsky.verbs.collect import collect as allsky_collect
from calibrant.allsky.verbs.image import image as allsky_image
from calibrant.allsky.verbs.rollback import rollback as allsky_rollback
from calibrant.allsky.verbs.simulate import simulate as allsky_simulate
from calibrant.allsky.verbs.status import status as allsky_status
from calibrant.allsky.verbs.upload import upload as allsky_upload
from calibrant.caltable.table import CalTable as CalTable
from calibrant.errors import CalibrantError as CalibrantError
from calibrant.jobs.allsky_calibrate import calibrate as allsky_calibrate
from calibrant.jobs.calibrate import calibrate as calibrate
from calibrant.jobs.demo import demo as demo
from calibrant.jobs.station_report import report as station_report
from calibrant.pipeline.result import CalibrationResult as CalibrationResult
from calibrant.simulation.observation import simulate as simulate
from calibrant.station.verbs.antab import antab as station_antab
from calibrant.station.verbs.check import check as station_check
from calibrant.station.verbs.edit import edit as station_edit
from calibrant.station.verbs.fit_gain import fit_gain as station_fit_gain
from calibrant.station.verbs.fit_tcal import fit_tcal as station_fit_tcal
from calibrant.station.verbs.fit_trec import fit_trec as station_fit_trec
from calibrant.station.verbs.onoff import onoff as station_onoff
from calibrant.station.verbs.plan import plan as station_plan
from calibrant.station.verbs.plot import plot as station_plot
from calibrant.station.verbs.simulate import simulate as station_simulate
from calibrant.station.verbs.update import update as station_update
from calibrant.tasks.applycal import applycal as applycal
from calibrant.tasks.bandpass import bandpass as bandpass
from calibrant.tasks.flagdata import flagdata as flagdata
from calibrant.tasks.flagmanager import flagmanager as flagmanager
from calibrant.tasks.fluxscale import fluxscale as fluxscale
from calibrant.tasks.gaincal import gaincal as gaincal
from calibrant.tasks.importuvfits import importuvfits as importuvfits
from calibrant.tasks.listobs import listobs as listobs
from calibrant.tasks.setjy import setjy as setjy
from calibrant.tasks.split import split as split

__version__: str
__all__: list[str]
