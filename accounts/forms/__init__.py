"""What people type in, checked."""

from accounts.forms.course import CourseSettingsForm
from accounts.forms.fields import ConfirmForm, HiddenText, LocalTime, UndamagedText
from accounts.forms.joining import JoinCodeForm, JoinCodeLimitsForm, NewPersonForm, RosterUploadForm
from accounts.forms.lti import LinkCourseForm, LtiPlatformForm, MakeCourseForm
from accounts.forms.people import ProfileForm, SignInForm
from accounts.forms.privacy import EraseForm
from accounts.forms.roster import AddPeopleForm, EnrollmentForm, ManyEnrollmentsForm, SectionForm, SectionName
from accounts.forms.security import (
    TOO_OFTEN,
    AddressForm,
    AuthenticatorAppForm,
    ChangePasswordForm,
    CodeAgainForm,
    FinishSignUpForm,
    NewAddressForm,
    NewPasswordForm,
    PasskeyForm,
    PasskeyNameForm,
    PasswordAgainForm,
    SecondStepForm,
    SetPasswordForm,
)

__all__ = [
    "TOO_OFTEN",
    "AddPeopleForm",
    "AddressForm",
    "AuthenticatorAppForm",
    "ChangePasswordForm",
    "CodeAgainForm",
    "ConfirmForm",
    "CourseSettingsForm",
    "EnrollmentForm",
    "EraseForm",
    "FinishSignUpForm",
    "HiddenText",
    "JoinCodeForm",
    "JoinCodeLimitsForm",
    "LinkCourseForm",
    "LocalTime",
    "LtiPlatformForm",
    "MakeCourseForm",
    "ManyEnrollmentsForm",
    "NewAddressForm",
    "NewPasswordForm",
    "NewPersonForm",
    "PasskeyForm",
    "PasskeyNameForm",
    "PasswordAgainForm",
    "ProfileForm",
    "RosterUploadForm",
    "SecondStepForm",
    "SectionForm",
    "SectionName",
    "SetPasswordForm",
    "SignInForm",
    "UndamagedText",
]
